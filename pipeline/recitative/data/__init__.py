"""Kaldi data directories: read, write, check, fix, select."""
