"""Data directories from other people's ways to keep recordings and transcripts."""
