"""Language models of words: made from text, pruned, mixed, measured and asked."""
