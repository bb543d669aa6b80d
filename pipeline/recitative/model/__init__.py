"""What a model is, of whatever kind: its description, its folder, and the metadata of its exported file."""
