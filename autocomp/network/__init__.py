"""Reading and running a network: layers, MACs, cached prefixes, scores."""
