"""CTC prefix search as the papers state it, in logarithms, over plain tuples: slow, obvious, and nothing dropped.

And slower still: every labelling that some path collapses to, with its probability summed over all its paths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

Labels = tuple[int, ...]
Extra = Callable[[Labels], float]


def no_extra(_labels: Labels) -> float:
    return 0.0


def collapse(path: tuple[int, ...]) -> Labels:
    """Repeats to one, then blanks away."""
    return tuple(c for c, _ in itertools.groupby(path) if c)


def all_labellings(log_probs: np.ndarray) -> dict[Labels, float]:
    """Every labelling with ln of the sum over all its paths."""
    frames, tokens = log_probs.shape
    totals: dict[Labels, list[float]] = {}
    for path in itertools.product(range(tokens), repeat=frames):
        totals.setdefault(collapse(path), []).append(sum(log_probs[t, c] for t, c in enumerate(path)))
    return {labels: float(np.logaddexp.reduce(values)) for labels, values in totals.items()}


def prefix_search(log_probs: np.ndarray, beam: int, extra: Extra = no_extra) -> list[tuple[Labels, float]]:
    """Hannun et al. 2014, algorithm 1: prefixes with ln of their total mass + extra, the best first."""
    beams: dict[Labels, tuple[float, float]] = {(): (0.0, -np.inf)}
    for frame in log_probs:
        grown: dict[Labels, list[float]] = {}
        for labels, (in_blank, in_label) in beams.items():
            total = np.logaddexp(in_blank, in_label)
            _add(grown, labels, 0, total + frame[0])
            if labels:
                _add(grown, labels, 1, in_label + frame[labels[-1]])
            for token in range(1, len(frame)):
                before = in_blank if labels and token == labels[-1] else total
                _add(grown, (*labels, token), 1, before + frame[token])
        ranked = sorted(grown, key=lambda labels: -(np.logaddexp(*grown[labels]) + extra(labels)))
        beams = {labels: (grown[labels][0], grown[labels][1]) for labels in ranked[:beam]}
    return [(labels, float(np.logaddexp(*masses)) + extra(labels)) for labels, masses in beams.items()]


def _add(grown: dict[Labels, list[float]], labels: Labels, which: int, score: float) -> None:
    masses = grown.setdefault(labels, [-np.inf, -np.inf])
    masses[which] = np.logaddexp(masses[which], score)
