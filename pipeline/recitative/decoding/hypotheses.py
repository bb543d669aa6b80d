"""Results of searches: the best path, which greedy decoding takes; and the hypotheses of a beam search, with evidence
for the confidence of their words, from the beam and from the token probabilities.

The posterior of a word is the share of the beam's probability that has the same word at the same time (Wessel et al.
2001, on an n-best list). It is overconfident, since hypotheses outside the beam are not counted; ``score.calibration``
corrects that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from recitative.stage import Array, Padded


def best_labels(log_probs: Padded[Array]) -> list[list[int]]:
    """The labels of the best path of each row (N, T, V): one for each run of a token, without blanks (0)."""
    paths = log_probs.data.argmax(-1)  # (N, T)
    rows = (path[:length].tolist() for path, length in zip(paths, log_probs.lengths, strict=True))
    return [[label for label, _ in groupby(row) if label] for row in rows]


@dataclass(frozen=True)
class TokenRun:
    """One label of a best path, on the frames [begin, end)."""

    label: int
    begin: int
    end: int
    confidence: float  # its highest probability on those frames, 0..1


class BestPath:
    """The best path of one stream so far: ``runs`` of its labels, without blanks, over ``num_frames``."""

    def __init__(self) -> None:
        self.runs: list[TokenRun] = []
        self.num_frames = 0
        self._last = 0  # the token of the last frame

    def extend(self, log_probs: Array) -> None:
        """The next frames (T, V)."""
        frames = len(log_probs)
        if frames == 0:
            return
        path = log_probs.argmax(-1)
        begins = [0, *(np.flatnonzero(path[1:] != path[:-1]) + 1).tolist()]
        largest = np.exp(np.maximum.reduceat(log_probs[np.arange(frames), path], begins)).tolist()
        labels = path[begins].tolist()
        for label, begin, end, confidence in zip(labels, begins, [*begins[1:], frames], largest, strict=True):
            if label:
                begin, end = self.num_frames + begin, self.num_frames + end
                if label == self._last and begin == self.num_frames:  # continues the run of the last chunk
                    before = self.runs.pop()
                    begin, confidence = before.begin, max(before.confidence, confidence)
                self.runs.append(TokenRun(label, begin, end, confidence))
            self._last = label
        self.num_frames += frames


FEATURES = ("logit_posterior", "ln_least_token", "ln_mean_token", "ln_labels")

_TOLERANCE = 2  # frames by which the onsets of one word may differ between hypotheses
_MAX_LOGIT = 12.0  # nats, for a posterior of 1


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
    stable:    of a stream that goes on: its first words that all hypotheses in the beam have. Hypotheses only grow, so
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


@dataclass(frozen=True)
class WordEvidence:
    """posterior: 0..1; least, mean: lowest and geometric mean probability of its tokens; labels: their number."""

    posterior: float
    least: float
    mean: float
    labels: int

    def features(self) -> tuple[float, ...]:
        """Inputs of a calibrator, in the order of FEATURES."""
        share = min(max(self.posterior, 1e-9), 1.0 - 1e-9)
        odds = math.log(share / (1.0 - share))
        return (
            max(-_MAX_LOGIT, min(_MAX_LOGIT, odds)),
            math.log(max(self.least, 1e-6)),
            math.log(max(self.mean, 1e-6)),
            math.log(self.labels),
        )


def evidence_of(hypotheses: Sequence[Hypothesis], runs: Sequence[TokenRun]) -> tuple[WordEvidence, ...]:
    """Evidence for every word of the first hypothesis; ``runs`` are its labels on their frames."""
    found = []
    for word in hypotheses[0].words:
        posterior = sum(h.posterior for h in hypotheses if any(_is_same(word, other) for other in h.words))
        confidences = [max(run.confidence, 1e-9) for run in runs[word.begin : word.end]]
        mean = math.exp(sum(map(math.log, confidences)) / len(confidences))
        found.append(WordEvidence(min(posterior, 1.0), min(confidences), mean, len(confidences)))
    return tuple(found)


def _is_same(a: SpelledWord, b: SpelledWord) -> bool:
    overlap = a.first_frame <= b.last_frame + _TOLERANCE and b.first_frame <= a.last_frame + _TOLERANCE
    return a.word == b.word and overlap


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
