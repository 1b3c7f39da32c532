"""What a search learned, as plain data: computed from a problem and its run, kept as JSON."""
