"""Error rates and result tables."""
