"""Low rank: one layer becomes two or more plain ones."""
