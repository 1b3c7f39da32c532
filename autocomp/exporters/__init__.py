"""Compressed networks for other runtimes."""
