"""Recitative: speech and music on one recurrent core."""

__version__ = "0.1.0"
