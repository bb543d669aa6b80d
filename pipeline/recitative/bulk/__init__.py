"""Bulk work: a function mapped over pieces, in order, by processes of this machine or by a Ray cluster.

    for result in map_pieces(work, pieces, Engine(jobs=8)): ...

A worker may die, of a lack of memory for one, and its piece is then done again: so what ``work`` writes must be there
whole or not at all (``atomic``), and doing it twice must give the same.
"""

from recitative.bulk.pieces import Engine, map_pieces

__all__ = ["Engine", "map_pieces"]
