"""The generation task: a language model's text streams, training, and its network as a stage on arrays."""
