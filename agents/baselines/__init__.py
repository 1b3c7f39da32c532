"""The honest baselines."""
