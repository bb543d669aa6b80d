"""Transcripts: normalization, tokens, vocabularies, lexicons."""
