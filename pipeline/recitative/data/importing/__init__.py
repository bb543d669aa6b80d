"""Data directories from tables, folders and manifests of recordings and transcripts."""
