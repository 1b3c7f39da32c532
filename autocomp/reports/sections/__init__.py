"""The report's sections: one question about a run a file, answered as a `Section` or left out."""
