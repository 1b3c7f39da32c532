"""The narrow waist: a network, data and budgets; `evaluate(plan) -> Outcome`."""
