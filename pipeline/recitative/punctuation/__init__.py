"""Punctuation and case, restored to the words of a recognizer."""
