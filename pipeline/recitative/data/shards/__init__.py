"""Shards: a data directory as a few large files that are read by offset, with an index beside them."""
