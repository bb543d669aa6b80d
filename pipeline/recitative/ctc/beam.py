"""CTC prefix beam search (Hannun et al. 2014) with explicit state: it streams, and any cutting gives the same.

For each prefix two masses are kept, that of its paths which end in a blank and that of those which end in its last
label (Graves 2012, section 7.5). Frame by frame, with p the frame's probabilities,

    blank'(l)     = (blank(l) + label(l)) * p[0]
    label'(l)     = label(l) * p[c]                                     c the last label of l
    label'(l + c) = (blank(l) + (label(l) unless c repeats)) * p[c] * e^gain

where the gain is what lexicon, language model and hot words say of the longer prefix (``ctc.prefix``). Masses are kept
as plain numbers, scaled by powers of two: adding them is exact enough and ten times as fast as adding logarithms.

CTC's output is mostly blank. A frame on which nothing else comes near moves all masses alike, so it costs one addition;
this is where the speed comes from, and with ``token_beam`` at infinity it never applies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.ctc.prefix import Prefix, SearchSpace, Spelled, spelled_words

Array = npt.NDArray[Any]

_SMALL = 2.0**-300  # masses below are scaled up; far from where numbers get coarse
_SCALE = 2.0**300
_LN_SCALE = 300 * math.log(2.0)


@dataclass(frozen=True)
class Onset:
    """The frames on which the labels of a prefix were first written, the last one first."""

    before: Onset | None
    frame: int


@dataclass(frozen=True)
class Entry:
    """One prefix in the beam: its two masses, and when its labels began."""

    prefix: Prefix
    blank: float
    label: float
    onset: Onset | None

    @property
    def mass(self) -> float:
        return self.blank + self.label


@dataclass(frozen=True)
class BeamState:
    """A value: a stream may be stored here, or go on in two ways. ``entries`` are sorted, the best first."""

    entries: tuple[Entry, ...]
    in_blank: bool  # no path ends in a label
    log_scale: float  # ln of what all masses are to be multiplied by
    num_frames: int


@dataclass(frozen=True)
class SpelledWord:
    """One word of a hypothesis: which of its labels are the word's, and the frames on which those began."""

    word: str
    begin: int
    end: int
    first_frame: int
    last_frame: int


@dataclass(frozen=True)
class Hypothesis:
    """What may have been said.

    score:     acoustic + extra, natural logarithms; the search's own total
    acoustic:  ln P(labels | audio), summed over the paths that the beam kept
    extra:     what language model, word bonus and hot words add
    posterior: its part of the masses of all hypotheses in the beam, 0..1
    whole:     False where the recording ends in the middle of a word or of a grammar's sentence
    """

    words: tuple[SpelledWord, ...]
    labels: tuple[int, ...]
    score: float
    acoustic: float
    extra: float
    posterior: float = 1.0
    whole: bool = True

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.words)


class BeamSearch:
    """start, step, finish; ``best`` at any time between."""

    def __init__(
        self, space: SearchSpace, *, beam: int = 16, token_beam: float = 9.0, score_beam: float = 20.0
    ) -> None:
        """beam: prefixes kept; token_beam, score_beam: tokens and prefixes so far below the best, in nats, are dropped."""
        self.space = space
        self.beam = beam
        self._token_beam = token_beam
        self._least = math.exp(-score_beam)
        # A prefix may gain by growing: it is not dropped before that is known.
        self._least_mass = self._least * math.exp(-space.largest_gain)

    def start(self) -> BeamState:
        return BeamState((Entry(self.space.start(), 1.0, 0.0, None),), True, 0.0, 0)

    def step(self, log_probs: Array, state: BeamState) -> BeamState:
        """The next frames (T, V)."""
        entries, in_blank, log_scale = state.entries, state.in_blank, state.log_scale
        for offset, (log_blank, tokens) in enumerate(_likely_tokens(log_probs, self._token_beam)):
            if not tokens:
                log_scale += log_blank
                if not in_blank:
                    entries = tuple(Entry(e.prefix, e.blank + e.label, 0.0, e.onset) for e in entries)
                    in_blank = True
                continue
            entries = self._grow(entries, math.exp(log_blank), tokens, state.num_frames + offset)
            in_blank = False
            if entries[0].mass < _SMALL:
                entries = tuple(Entry(e.prefix, e.blank * _SCALE, e.label * _SCALE, e.onset) for e in entries)
                log_scale -= _LN_SCALE
        return BeamState(entries, in_blank, log_scale, state.num_frames + len(log_probs))

    def best(self, state: BeamState) -> Hypothesis:
        """The best prefix of a stream that goes on; words not yet whole are left out where a lexicon knows them."""
        entry = state.entries[0]
        words = entry.prefix.words
        if isinstance(entry.prefix.spot, str) and entry.prefix.spot:  # open vocabulary: letters so far
            length = entry.prefix.length
            words = Spelled(words, entry.prefix.spot, length - len(entry.prefix.spot), length)
        return _hypothesis(entry, words, entry.prefix.extra, state.log_scale)

    def finish(self, state: BeamState, count: int = 1) -> list[Hypothesis]:
        """The ``count`` best word sequences, the best first; the same words spelled differently are one.

        If none is whole, one that isn't: the words of the best prefix.
        """
        whole: dict[tuple[str, ...], Hypothesis] = {}
        for entry in state.entries:
            done = self.space.finish(entry.prefix)
            if done:
                _join(whole, _hypothesis(entry, done[0], done[1], state.log_scale))
        if not whole:
            entry = state.entries[0]
            broken = _hypothesis(entry, entry.prefix.words, entry.prefix.extra, state.log_scale)
            return [replace(broken, whole=False)]
        total = _log_sum([hypothesis.score for hypothesis in whole.values()])
        ranked = sorted(whole.values(), key=lambda hypothesis: -hypothesis.score)
        return [replace(h, posterior=math.exp(h.score - total)) for h in ranked[:count]]

    def _grow(
        self, entries: Sequence[Entry], blank: float, tokens: list[tuple[int, float]], frame: int
    ) -> tuple[Entry, ...]:
        """One frame. This loop is the whole cost of decoding; it is written for CPython, not for looks."""
        grow = self.space.grow
        probability = dict(tokens)
        floor = entries[0].mass * max(blank, tokens[0][1])
        floor_mass, floor = floor * self._least_mass, floor * self._least
        found: dict[Prefix, list[Any]] = {}  # prefix -> [blank, label, onset]
        for entry in entries:
            prefix, in_blank, onset = entry.prefix, entry.blank, entry.onset
            mass = in_blank + entry.label
            last = prefix.label
            stays = found.get(prefix)
            if stays is None:
                found[prefix] = [mass * blank, entry.label * probability.get(last, 0.0), onset]
            else:  # it grew from a shorter one already
                stays[0] += mass * blank
                stays[1] += entry.label * probability.get(last, 0.0)
                stays[2] = onset
            for token, p in tokens:
                grown = (in_blank if token == last else mass) * p
                if grown < floor_mass:
                    continue
                for child, factor in prefix.children.get(token) or grow(prefix, token):
                    reached = grown * factor
                    if reached < floor:
                        continue
                    there = found.get(child)
                    if there is None:
                        found[child] = [0.0, reached, Onset(onset, frame)]
                    else:
                        there[1] += reached
        ranked = [(values[0] + values[1], -i, prefix, values) for i, (prefix, values) in enumerate(found.items())]
        ranked.sort(reverse=True)
        least = ranked[0][0] * self._least
        return tuple(
            Entry(prefix, values[0], values[1], values[2])
            for mass, _, prefix, values in ranked[: self.beam]
            if mass >= least
        )


def _likely_tokens(log_probs: Array, token_beam: float) -> list[tuple[float, list[tuple[int, float]]]]:
    """Of each frame: ln P(blank), and the tokens within ``token_beam`` of the best with their probabilities, best first."""
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
    frames: list[int] = []
    onset = entry.onset
    while onset:
        frames.append(onset.frame)
        onset = onset.before
    frames.reverse()
    spelled = tuple(
        SpelledWord(w.word, w.begin, w.end, frames[w.begin], frames[w.end - 1]) for w in spelled_words(words)
    )
    acoustic = math.log(entry.mass) + log_scale - entry.prefix.extra if entry.mass else -math.inf
    return Hypothesis(spelled, tuple(entry.prefix.labels()), acoustic + extra, acoustic, extra)


def _join(whole: dict[tuple[str, ...], Hypothesis], new: Hypothesis) -> None:
    """Other spellings of the same words add up; labels and times are those of the best of them."""
    key = tuple(word.word for word in new.words)
    old = whole.get(key)
    if old is None:
        whole[key] = new
        return
    better = old if old.score >= new.score else new
    total = _log_sum([old.score, new.score])
    whole[key] = replace(better, score=total, acoustic=total - better.extra)


def _log_sum(values: Sequence[float]) -> float:
    largest = max(values)
    if largest == -math.inf:
        return largest
    return largest + math.log(sum(math.exp(value - largest) for value in values))
