"""The recognition task: data, training, decoding, report."""
