"""Kaldi data directories: read, write, check, fix, select, import; shards; parallel work."""
