"""Keyword spotting: where in a stream of CTC log probabilities a phrase is said that nobody trained for.

At every frame t the search knows, for each of its label sequences, the probability that the path has just written it,

    a(t, j) = p(t, token_j) [a(t-1, j) + a(t-1, j-1) + a(t-1, j-2) where labels differ],    j = label, blank, label, ...

the forward sum of Graves et al. 2006, section 4.1, into which paths enter on every frame with the probability that
they may: 1 - p(t-1, label_1), for else the label's run would go on, or that of a word's edge (``ctc.word_edges``).
Frames are independent given the audio, so this is the exact sum over all paths, and the filler, whatever else is said,
needs no model. The confidence is the geometric mean over the L labels, a ** (1 / L), 0..1: one scale for long phrases
and short ones. Time and memory for a frame don't grow with the stream. The span of a hit is that of the likeliest way
into each state.

Lengerich & Hannun 2016 score a window by the same sum, with a filler; Hwang et al. 2015 and Zhuang et al. 2016 go label
by label too, by the best path and by edit distance. Where tokens tell of words, a phrase must end at a word's edge as
well: a start of the next word, K blanks, or the segment's end. Where they don't, as phones, ``Keyword.rivals`` are
longer words that contain it (``ctc.hits``). NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.ctc.hits import Candidate
from recitative.ctc.phrase_states import Carried, PhraseStates
from recitative.ctc.word_edges import EdgeState, WordEdges, first_edge, next_edge

Array = npt.NDArray[Any]

BLOCK = 256  # frames whose probabilities are worked out at once


@dataclass(frozen=True)
class Keyword:
    """A phrase as label sequences: those that say it, and those of longer words in which one of them stands."""

    phrase: str
    spellings: tuple[tuple[int, ...], ...]
    rivals: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class SearchState:
    """Of a stream after ``frame`` frames.

    edge:  of words, if the search minds them
    ended: probabilities (R,) and spans (2, R) of the paths in their last labels on the last K frames, the oldest first
    """

    frame: int
    carried: Carried
    edge: EdgeState | None
    ended: tuple[tuple[Array, Array], ...] = ()


class KeywordSearch:
    """All keywords at once, in R rows of label sequences. States are values: a step leaves the old one as it was."""

    def __init__(
        self,
        keywords: Sequence[Keyword],
        thresholds: Sequence[float],
        *,
        edges: WordEdges | None = None,
        margin: float = 0.0,
    ) -> None:
        """thresholds: the confidence, above 0, below which nothing is a candidate, for each keyword.

        edges: None takes a phrase wherever it is, within words too; margin: nats that a rival may be less probable than
        the least probable candidate.
        """
        rows = [(number, labels, False) for number, word in enumerate(keywords) for labels in word.spellings]
        rows += [(number, labels, True) for number, word in enumerate(keywords) for labels in word.rivals]
        self._rows = [(number, len(labels), is_rival) for number, labels, is_rival in rows]
        self._states = PhraseStates([labels for _, labels, _ in rows], edges.starts if edges else ())
        self._edges = edges
        longest = [max(map(len, word.spellings)) for word in keywords]
        bars = [
            thresholds[number] ** (longest[number] if is_rival else count) * np.exp(-margin * is_rival)
            for number, count, is_rival in self._rows
        ]
        self._bars = np.array(bars)

    def start(self) -> SearchState:
        nothing = np.zeros(len(self._rows)), np.zeros((2, len(self._rows)), np.int64)
        silence = self._edges.silence_frames if self._edges else 0
        edge = first_edge(self._edges) if self._edges else None
        return SearchState(0, self._states.start(), edge, (nothing,) * silence)

    def step(self, log_probs: Array, state: SearchState) -> tuple[list[Candidate], SearchState]:
        """The next frames (T, V). Candidates in the order in which frames show them."""
        found: list[Candidate] = []
        for first in range(0, len(log_probs), BLOCK):
            for frame in np.exp(log_probs[first : first + BLOCK].astype(np.float64)):
                state, new = self._frame(frame, state)
                found += new
        return found, state

    def finish(self, state: SearchState) -> list[Candidate]:
        """The segment ends here, at the edge of a word: candidates that waited for one."""
        return self._candidates(*self._states.written(state.carried), state.frame) if self._edges else []

    def _frame(self, probabilities: Array, state: SearchState) -> tuple[SearchState, list[Candidate]]:
        """One frame of token probabilities (V,)."""
        entry = state.edge.edge if state.edge and self._edges and self._edges.before else None
        carried = self._states.advance(probabilities, state.carried, entry, state.frame)
        seen = state.frame + 1
        ending = self._states.ending(carried)
        if self._edges is None or state.edge is None:
            return SearchState(seen, carried, None), self._candidates(*ending, seen)
        edge = next_edge(self._edges, state.edge, probabilities)
        found = self._candidates(*self._states.followed(carried), seen)
        in_silence, spans = state.ended[0]
        found += self._candidates(in_silence * edge.silence, spans, seen)
        return SearchState(seen, carried, edge, (*state.ended[1:], ending)), found

    def _candidates(self, probabilities: Array, spans: Array, seen: int) -> list[Candidate]:
        """probabilities (R,), spans (2, R)."""
        found = []
        for row in np.flatnonzero(probabilities >= self._bars).tolist():
            number, count, is_rival = self._rows[row]
            begin, end = spans[:, row].tolist()
            found.append(Candidate(number, begin, end, seen, -float(np.log(probabilities[row])), count, is_rival))
        return found
