"""Figures and HTML pages of results: one palette, one renderer for each figure, pages that need no other file."""
