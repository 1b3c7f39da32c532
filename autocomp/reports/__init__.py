"""What a person reads: the closing table and the progress line."""
