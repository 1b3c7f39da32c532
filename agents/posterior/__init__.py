"""Thompson sampling over multipliers of the layers' estimated losses."""
