"""What is seen of a network's inputs, layer by layer, on calibration data."""
