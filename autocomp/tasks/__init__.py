"""What a network is for: its loss, its metric, how far outputs are from the dense ones."""
