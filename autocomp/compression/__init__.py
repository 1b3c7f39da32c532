"""What a choice makes of a layer, and what puts it into a network and a file."""
