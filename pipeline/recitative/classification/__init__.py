"""Classification of recordings and streams: network, training, classifier, evaluation."""
