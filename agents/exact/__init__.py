"""Agents that evaluate an exact solver's plan."""
