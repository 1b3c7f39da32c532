"""Agents that learn a policy, on Stable-Baselines3."""
