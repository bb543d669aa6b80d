"""CTC prefix beam search (Hannun et al. 2014) with explicit state: it streams, and results do not depend on chunks.

Each prefix has two masses: that of its paths that end in a blank, and that of its paths that end in its last label
(Graves 2012, section 7.5). For each frame with probabilities p,

    blank'(l)     = (blank(l) + label(l)) * p[0]
    label'(l)     = label(l) * p[c]                                     c the last label of l
    label'(l + c) = (blank(l) + (label(l) unless c repeats)) * p[c] * e^gain

where the gain is the change of score by lexicon, language model and hot words (``decoding.prefix``). Masses are plain
numbers, scaled by powers of two: adding them is accurate enough and ten times as fast as adding logarithms.

CTC's output is mostly blank. A frame with no other likely token scales all masses equally, so it costs one addition.
This gives the speed; with an infinite ``token_beam`` it never applies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np

from recitative.decoding.prefix import Prefix, SearchSpace, Spelled, spelled_words
from recitative.stage import Array

_SMALL = 2.0**-300  # masses below are scaled up, far above the subnormal numbers
_SCALE = 2.0**300
_LN_SCALE = 300 * math.log(2.0)


# Plain tuples: a beam creates and drops so many that classes would take a third of its time.

Onset = tuple[Any, int]
"""(previous onset or None, frame): the first frames of the labels of a prefix, as a linked list, last one first."""

Entry = tuple[Prefix, float, float, Onset | None]
"""(prefix, mass of its paths that end in a blank, mass of those that end in its last label, onset)"""


@dataclass(frozen=True)
class BeamState:
    """An immutable state, which can be stored and continued several times. ``entries`` are sorted, best first."""

    entries: tuple[Entry, ...]
    in_blank: bool  # no path ends in a label
    log_scale: float  # ln of the factor of all masses
    num_frames: int


@dataclass(frozen=True)
class SpelledWord:
    """One word of a hypothesis: the range of its labels, and the first frames of its first and last label."""

    word: str
    begin: int
    end: int
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class Hypothesis:
    """A recognition hypothesis.

    score:     acoustic + extra, natural logarithms
    acoustic:  ln P(labels | audio), summed over the paths in the beam
    extra:     score of language model, word bonus and hot words
    posterior: its share of the masses of all hypotheses in the beam, 0..1
    whole:     False if the recording ends within a word or a sentence of a grammar
    stable:   of a stream that goes on: its first words that all hypotheses in the beam have. Hypotheses only grow, so
               no later audio changes them
    shares:    of a stream that goes on: for each word, the share of the beam that has all words up to it, 0..1
    """

    words: tuple[SpelledWord, ...]
    labels: tuple[int, ...]
    score: float
    acoustic: float
    extra: float
    posterior: float = 1.0
    whole: bool = True
    stable: int = 0
    shares: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.words)


class BeamSearch:
    """``start``, then ``step`` for each chunk, ``best`` at any time, and ``finish``."""

    def __init__(
        self, space: SearchSpace, *, beam: int = 16, token_beam: float = 6.5, score_beam: float = 12.0
    ) -> None:
        """beam: maximal number of prefixes; token_beam, score_beam: nats below the best at which tokens, prefixes are
        dropped.
        """
        self.space = space
        self.beam = beam
        self._token_beam = token_beam
        self._least = math.exp(-score_beam)
        # A prefix may gain when it grows, so it is not dropped before.
        self._least_mass = self._least * math.exp(-space.largest_gain)

    def start(self) -> BeamState:
        return BeamState(((self.space.start(), 1.0, 0.0, None),), True, 0.0, 0)

    def step(self, log_probs: Array, state: BeamState) -> BeamState:
        """The next frames (T, V)."""
        entries, in_blank, log_scale = state.entries, state.in_blank, state.log_scale
        for offset, (log_blank, tokens) in enumerate(_likely_tokens(log_probs, self._token_beam)):
            if not tokens:
                log_scale += log_blank
                if not in_blank:
                    entries = tuple((prefix, b + c, 0.0, onset) for prefix, b, c, onset in entries)
                    in_blank = True
                continue
            entries = self._grow(entries, math.exp(log_blank), tokens, state.num_frames + offset)
            in_blank = False
            if _mass(entries[0]) < _SMALL:
                entries = tuple((prefix, b * _SCALE, c * _SCALE, onset) for prefix, b, c, onset in entries)
                log_scale -= _LN_SCALE
        return BeamState(entries, in_blank, log_scale, state.num_frames + len(log_probs))

    def best(self, state: BeamState) -> Hypothesis:
        """The best prefix of a stream so far; with a lexicon, without an incomplete last word."""
        entry = state.entries[0]
        prefix = entry[0]
        best = _hypothesis(entry, self.space.with_open_word(prefix), prefix.extra, state.log_scale)
        closed = [_texts(prefix.words) for prefix, *_ in state.entries]
        so_far = [_texts(self.space.with_open_word(prefix)) for prefix, *_ in state.entries]
        whole, begun = ([_common(rows[0], row) for row in rows] for rows in (closed, so_far))
        return with_agreement(best, whole, begun, [_mass(entry) for entry in state.entries])

    def finish(self, state: BeamState, count: int = 1) -> list[Hypothesis]:
        """The ``count`` best word sequences, best first; different spellings of the same words are merged.

        If none is complete, the words of the best prefix.
        """
        whole: dict[tuple[str, ...], Hypothesis] = {}
        for entry in state.entries:
            done = self.space.finish(entry[0])
            if done:
                join_spellings(whole, _hypothesis(entry, done[0], done[1], state.log_scale))
        if not whole:
            entry = state.entries[0]
            broken = _hypothesis(entry, entry[0].words, entry[0].extra, state.log_scale)
            total_mass = sum(map(_mass, state.entries))
            return [replace(broken, whole=False, posterior=_mass(entry) / total_mass if total_mass else 0.0)]
        total = log_sum([hypothesis.score for hypothesis in whole.values()])
        ranked = sorted(whole.values(), key=lambda hypothesis: -hypothesis.score)
        return [replace(h, posterior=math.exp(h.score - total)) for h in ranked[:count]]

    def _grow(
        self, entries: Sequence[Entry], blank: float, tokens: list[tuple[int, float]], frame: int
    ) -> tuple[Entry, ...]:
        """One frame. This loop is the whole cost of decoding; it is written for CPython, not for looks."""
        grow = self.space.grow
        probability = dict(tokens)
        likeliest = tokens[0][1]
        best = _mass(entries[0]) * max(blank, likeliest)
        floor, floor_mass = best * self._least, best * self._least_mass
        found: dict[Prefix, list[Any]] = {}  # prefix -> [blank, label, onset]
        for prefix, in_blank, in_label, onset in entries:
            mass = in_blank + in_label
            last = prefix.label
            again = in_label * probability[last] if in_label and last in probability else 0.0
            there = found.get(prefix)
            if there is not None:  # it grew from a shorter one already
                there[0] += mass * blank
                there[1] += again
                there[2] = onset
            elif mass * blank + again >= floor:
                found[prefix] = [mass * blank, again, onset]
            if mass * likeliest < floor_mass:
                continue  # and so is all that is less likely
            for token, p in tokens:
                grown = (in_blank if token == last else mass) * p
                if grown < floor_mass:
                    continue
                children = prefix.children.get(token)
                for child, factor in grow(prefix, token) if children is None else children:
                    reached = grown * factor
                    if reached >= floor:
                        there = found.get(child)
                        if there is None:
                            found[child] = [0.0, reached, (onset, frame)]
                        else:
                            there[1] += reached
        if not found:  # every way on is forbidden: the best waits
            prefix, in_blank, in_label, onset = entries[0]
            found[prefix] = [(in_blank + in_label) * max(blank, 1e-30), 0.0, onset]
        return self._select(found)

    def _select(self, found: dict[Prefix, list[Any]]) -> tuple[Entry, ...]:
        """The best ``beam`` prefixes, sorted; ties keep the order in which they were found."""
        ranked = [(b + c, prefix, b, c, onset) for prefix, (b, c, onset) in found.items()]
        ranked.sort(key=_first, reverse=True)  # stable, so ties stay in order
        least = ranked[0][0] * self._least
        return tuple([entry[1:] for entry in ranked[: self.beam] if entry[0] >= least])


def _mass(entry: Entry) -> float:
    return entry[1] + entry[2]


_first = itemgetter(0)


def _likely_tokens(log_probs: Array, token_beam: float) -> list[tuple[float, list[tuple[int, float]]]]:
    """For each frame: ln P(blank), and the tokens within ``token_beam`` of the best with probabilities, best first."""
    wide = log_probs.astype(np.float64)
    limit = wide.max(-1, keepdims=True, initial=-np.inf) - token_beam
    near = wide >= limit
    near[:, 0] = False
    found: list[tuple[float, list[tuple[int, float]]]] = [(value, []) for value in wide[:, 0].tolist()]
    frames, tokens = np.nonzero(near)
    for frame, token, p in zip(frames.tolist(), tokens.tolist(), np.exp(wide[near]).tolist(), strict=True):
        if p > 0.0:
            found[frame][1].append((token, p))
    for _, row in found:
        row.sort(key=lambda pair: -pair[1])
    return found


def _hypothesis(entry: Entry, words: Spelled | None, extra: float, log_scale: float) -> Hypothesis:
    prefix, _, _, onset = entry
    frames: list[int] = []
    while onset:
        onset, frame = onset
        frames.append(frame)
    frames.reverse()
    spelled = tuple(
        SpelledWord(w.word, w.begin, w.end, frames[w.begin], frames[w.end - 1]) for w in spelled_words(words)
    )
    mass = _mass(entry)
    acoustic = math.log(mass) + log_scale - prefix.extra if mass else -math.inf
    return Hypothesis(spelled, tuple(prefix.labels()), acoustic + extra, acoustic, extra)


def _texts(words: Spelled | None) -> list[str]:
    return [word.word for word in spelled_words(words)]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words, from the first on, are the same."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def with_agreement(
    best: Hypothesis, closed: Sequence[int], so_far: Sequence[int], masses: Sequence[float]
) -> Hypothesis:
    """The best hypothesis with ``stable`` and ``shares``, from all hypotheses of the beam.

    closed: how many words each has in common with the best, of those that are complete; so_far: also of the last one,
    where it may still grow
    """
    total, agreed, weights = sum(masses), np.array(so_far), np.array(masses)
    shared = [float(weights[agreed > n].cumsum()[-1]) for n in range(len(best.words))]  # added up in order
    shares = tuple(min(1.0, mass / total) if total else 0.0 for mass in shared)
    return replace(best, stable=min(closed), shares=shares)


def join_spellings(whole: dict[tuple[str, ...], Hypothesis], new: Hypothesis) -> None:
    """Add up spellings of the same words; labels and times are those of the best."""
    key = tuple(word.word for word in new.words)
    old = whole.get(key)
    if old is None:
        whole[key] = new
        return
    better = old if old.score >= new.score else new
    total = log_sum([old.score, new.score])
    whole[key] = replace(better, score=total, acoustic=total - better.extra)


def log_sum(values: Sequence[float]) -> float:
    largest = max(values)
    if largest == -math.inf:
        return largest
    return largest + math.log(sum(math.exp(value - largest) for value in values))
