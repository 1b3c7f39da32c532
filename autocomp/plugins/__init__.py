"""A text becomes an object: registered names, options, import paths."""
