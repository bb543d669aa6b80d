"""Models of all kinds: their description, folders, exported files, export, and streams of audio."""
