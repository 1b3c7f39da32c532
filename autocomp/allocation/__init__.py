"""Costs, losses and limits as bare arrays: what fits every budget, and what is best."""
