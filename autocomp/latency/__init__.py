"""Measured seconds: of single layers, of whole networks, and as a cost."""
