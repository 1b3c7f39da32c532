"""The vocabulary: choices, plans, layers, budgets, outcomes; no network and no file."""
