"""Forced CTC alignment: the frames of the words of a known text, and the pronunciation of each.

A word may have several label sequences, and words may be separated by a label such as the space. Frames are counted
from 0; begin and end are [begin, end).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recitative.decoding.hypotheses import TokenRun
from recitative.errors import DataError
from recitative.stage import Array

BLANK = 0

Labels = Sequence[int]
Alternatives = Sequence[Labels]  # the label sequences of one word; none is empty


@dataclass(frozen=True)
class AlignedWord:
    begin: int  # first frame of its first label
    end: int  # past the last frame of its last label
    alternative: int  # index of the label sequence on the path
    log_prob: float  # mean over its frames, including blanks between its labels, in nats
    runs: tuple[TokenRun, ...]  # its labels


@dataclass(frozen=True)
class AlignedPath:
    """The most probable path through T frames that collapses to the words."""

    tokens: npt.NDArray[np.int64]  # (T,) the token of every frame
    runs: tuple[TokenRun, ...]  # every label of the path, separators included
    words: tuple[AlignedWord, ...]
    log_prob: float  # of the whole path, in nats: the sum over its frames


def align_words(log_probs: Array, words: Sequence[Alternatives], *, separator: int | None = None) -> AlignedPath:
    """The most probable path over all ways to write ``words`` one after another.

    log_probs: (T, V), token 0 is the blank
    words:     the alternatives of each word, labels in 1..V-1; the first of equally probable ones is taken
    separator: a label between words, or None
    Viterbi over the states of Graves et al. 2006, section 4.1: labels, with blanks around them that may be skipped
    except between equal labels. The alternatives of a word are branches that join after it. S states with at most P
    predecessors each take O(T S P) time and T S bytes.
    Raises DataError for too few frames, NaN, or if every path has probability 0; ValueError for a word without
    alternatives, an alternative without labels, or a label out of range.
    """
    _check(log_probs, words, separator)
    graph = _Graph(words, separator)
    frames, needed = len(log_probs), graph.fewest_frames()
    if frames < needed:
        remedy = "correct the text or the segment"
        raise DataError("alignment", f"{frames} frames", f"at least {needed} for these labels", remedy)
    states = _viterbi(log_probs, graph)
    tokens = np.array(graph.tokens, np.int64)[states]
    on_path = log_probs[np.arange(frames), tokens].astype(np.float64)  # (T,)
    placed = list(_runs(graph, states, on_path))
    aligned = []
    for place, group in groupby(placed, key=lambda pair: pair[0]):
        if place is not None:
            runs = tuple(run for _, run in group)
            begin, end = runs[0].begin, runs[-1].end
            aligned.append(AlignedWord(begin, end, place.alternative, float(on_path[begin:end].mean()), runs))
    return AlignedPath(tokens, tuple(run for _, run in placed), tuple(aligned), float(on_path.sum()))


class _Place(NamedTuple):
    """The word that a state belongs to."""

    word: int
    alternative: int


_START = 0  # the state before the first frame
_NOWHERE = -1


class _Graph:
    """States in topological order; all but the start emit one token per frame."""

    def __init__(self, words: Sequence[Alternatives], separator: int | None) -> None:
        self.tokens = [BLANK]  # token of each state; the start emits nothing
        self.places: list[_Place | None] = [None]  # None: a separator, or a blank around words
        self.before: list[list[int]] = [[]]  # predecessors of each state, itself first
        frontier = [self.add(BLANK, [_START]), _START]  # the states that may precede the next label
        for number, alternatives in enumerate(words):
            if number and separator is not None:
                state = self.add(separator, frontier)
                frontier = [self.add(BLANK, [state]), state]
            ends = [self.add_all(labels, frontier, _Place(number, which)) for which, labels in enumerate(alternatives)]
            frontier = [self.add(BLANK, ends), *ends]
        self.finals = frontier

    def add(self, token: int, frontier: Sequence[int], place: _Place | None = None) -> int:
        """A new state after those of ``frontier`` that emit another token: equal neighbors would be one run."""
        state = len(self.tokens)
        self.tokens.append(token)
        self.places.append(place)
        self.before.append([state, *(s for s in frontier if s == _START or self.tokens[s] != token)])
        return state

    def add_all(self, labels: Labels, frontier: Sequence[int], place: _Place) -> int:
        """A chain of labels with optional blanks between them; returns the last state."""
        *earlier, last = labels
        for label in earlier:
            state = self.add(label, frontier, place)
            frontier = [self.add(BLANK, [state], place), state]
        return self.add(last, frontier, place)

    def fewest_frames(self) -> int:
        """The length of the shortest path from the start to a final state."""
        fewest = [0]
        for states in self.before[1:]:
            fewest.append(1 + min(fewest[s] for s in states[1:]))
        return min(fewest[s] for s in self.finals)

    def predecessors(self) -> npt.NDArray[np.int64]:
        """(P, S): ``before`` in columns, padded with _NOWHERE."""
        table = np.full((max(map(len, self.before)), len(self.before)), _NOWHERE, np.int64)
        for state, states in enumerate(self.before):
            table[: len(states), state] = states
        return table


def _viterbi(log_probs: Array, graph: _Graph) -> npt.NDArray[np.int64]:
    """The state of every frame (T,) on the most probable path from the start to a final state."""
    tokens, predecessors = np.array(graph.tokens), graph.predecessors()
    choices = np.zeros((len(log_probs), len(tokens)), np.min_scalar_type(len(predecessors)))
    best = np.full(len(tokens) + 1, -np.inf)  # the last entry is _NOWHERE's
    best[_START] = 0.0
    for t, frame in enumerate(log_probs):
        candidates = best[predecessors]  # (P, S)
        choices[t] = candidates.argmax(0)
        best[:-1] = candidates.max(0) + frame[tokens]
    state = max(graph.finals, key=lambda final: float(best[final]))
    if best[state] == -np.inf:
        raise DataError("alignment", "every path has probability 0", "finite log probabilities on one of them", "")
    states = np.zeros(len(log_probs), np.int64)
    for t in reversed(range(len(log_probs))):
        states[t] = state
        state = int(predecessors[choices[t, state], state])
    return states


def _runs(
    graph: _Graph, states: npt.NDArray[np.int64], on_path: npt.NDArray[np.float64]
) -> Iterator[tuple[_Place | None, TokenRun]]:
    """The labels of a path, each with its frames and the word that it belongs to."""
    begin = 0
    for state, group in groupby(states.tolist()):
        end = begin + len(list(group))
        if graph.tokens[state] != BLANK:
            confidence = float(np.exp(on_path[begin:end].max()))
            yield graph.places[state], TokenRun(graph.tokens[state], begin, end, confidence)
        begin = end


def _check(log_probs: Array, words: Sequence[Alternatives], separator: int | None) -> None:
    if np.isnan(log_probs).any():
        at = int(np.isnan(log_probs).any(-1).argmax())
        raise DataError("alignment", f"frame {at} has NaN", "log probabilities", "")
    for number, alternatives in enumerate(words):
        if not alternatives or not all(alternatives):
            raise ValueError(f"word {number} has no alternatives, or one without labels")
    used = {label for alternatives in words for labels in alternatives for label in labels}
    for label in used | ({separator} if separator is not None else set()):
        if not 0 < label < log_probs.shape[1]:
            raise ValueError(f"{label} is not a label; labels are 1 to {log_probs.shape[1] - 1}")
