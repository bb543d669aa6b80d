"""The task of naming: one label for a whole recording, and the running label of a stream."""
