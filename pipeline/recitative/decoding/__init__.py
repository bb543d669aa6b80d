"""Decoding of CTC output: greedy and beam search, hot words, alignment, confidence. NumPy only."""
