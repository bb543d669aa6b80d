"""Decoding of CTC output: greedy and beam search, hot words, keywords, alignment, confidence. NumPy only."""
