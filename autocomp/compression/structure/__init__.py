"""Channels, heads and neurons: which go together, in which order they go, and taking them out."""
