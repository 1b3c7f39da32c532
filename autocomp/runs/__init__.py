"""What lies on disk: settings, run folder, summary, layer results."""
