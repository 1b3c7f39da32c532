"""Agents that ask Optuna's samplers."""
