"""The commands of the command line, a family a file; only they and `cli` print."""
