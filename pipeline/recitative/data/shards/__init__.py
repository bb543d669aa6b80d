"""Shards: a data directory as a few large files, read by offset, with an index."""
