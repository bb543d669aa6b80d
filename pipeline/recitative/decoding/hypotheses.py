"""Results of searches: the best path, which greedy decoding takes; the hypotheses of a beam search, with evidence for
the confidence of their words, from the beam and from the token probabilities; and forced alignment, the best path of a
known text.

The posterior of a word is the share of the beam's probability that has the same word at the same time (Wessel et al.
2001, on an n-best list). It is overconfident, since hypotheses outside the beam are not counted;
a ``Calibrator`` corrects that.

In an alignment, a word may have several label sequences, and words may be separated by a label such as the space.
Frames are counted from 0; begin and end are [begin, end).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recitative.errors import DataError, counted
from recitative.score.classification import correctness
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

L2 = 0.1  # prior on weights, per standard deviation of the feature: about 1 / sqrt(L2) = 3 or less
NEWTON_STEPS = 100  # about ten suffice


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


@dataclass(frozen=True)
class Calibrator:
    """Logistic regression: p(correct) = 1 / (1 + exp(-(bias + sum over features of weight * feature)))."""

    features: tuple[str, ...]  # names of the columns
    weights: tuple[float, ...]
    bias: float

    @classmethod
    def fit(cls, features: Array, correct: Array, names: Sequence[str], *, l2: float = L2) -> Calibrator:
        """Fit to words with known correctness, by Newton's method.

        features: (N, F), such as those of ``WordEvidence``, as in Kaldi's steps/conf; correct: (N,)
        bool; names: of the F columns. Minimizes the cross entropy, summed over words, + l2 / 2 * sum of squared weights
        of features scaled to unit variance. Targets are those of Platt 1999, (right + 1) / (right + 2) for correct
        words and 1 / (wrong + 2) for wrong ones, as if one more word of each kind had been seen. So the weights are
        finite even if a threshold separates correct from wrong words, and if all words are correct, or all wrong, every
        probability is that constant.
        Raises DataError for no words, non-finite features, and mismatched shapes.
        """
        features = _matrix(features, names)
        correct = correctness(correct, len(features))
        mean, scale = features.mean(0), features.std(0)
        scale = np.where(scale > 1e-12 * (1 + abs(mean)), scale, np.inf)  # a constant feature has weight 0
        standard = np.column_stack([(features - mean) / scale, np.ones(len(features))])  # (N, F + 1)
        penalty = np.array([l2] * len(names) + [0.0])
        right, wrong = int(correct.sum()), int((~correct).sum())
        targets = np.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))
        solution = _newton(standard, targets, penalty)
        weights = solution[:-1] / scale
        return cls(tuple(names), tuple(weights.tolist()), float(solution[-1] - weights @ mean))

    def apply(self, features: Array) -> npt.NDArray[np.float64]:
        """Features (N, F) -> probabilities (N,) that the words are correct. Raises DataError for another F."""
        features = _matrix(features, self.features)
        return _sigmoid(features @ np.array(self.weights) + self.bias)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, such as in a model's metadata."""
        return {"features": list(self.features), "weights": list(self.weights), "bias": self.bias}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any], where: str) -> Calibrator:
        """The inverse of ``to_dict``. Raises DataError located at ``where`` for other data."""
        try:
            names, weights = tuple(entries["features"]), tuple(map(float, entries["weights"]))
            bias = float(entries["bias"])
            sound = len(names) == len(weights) and all(map(math.isfinite, (*weights, bias)))
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise DataError(where, "has no calibrator", "features, as many weights, and a bias", "fit it again")
        return cls(names, weights, bias)


def _newton(x: Array, targets: Array, penalty: Array) -> Array:
    """The minimum (F + 1,) of cross entropy + penalty / 2 * weights ** 2, finite for targets (N,) within 0 and 1.

    Newton's step is halved until the loss decreases, since far from the minimum it may overshoot.
    """
    weights = np.zeros(x.shape[1])
    loss = _loss(x, targets, penalty, weights)
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (p - targets) + penalty * weights
        hessian = (x.T * (p * (1 - p))) @ x + np.diag(penalty)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]  # singular for l2 = 0 and a repeated feature
        while (lower := _loss(x, targets, penalty, weights - step)) > loss:
            step = step / 2
        if abs(step).max() < 1e-10:
            break
        weights, loss = weights - step, lower
    return weights


def _loss(x: Array, targets: Array, penalty: Array, weights: Array) -> float:
    z = x @ weights
    return float((np.logaddexp(0, z) - targets * z).sum() + (penalty * weights**2).sum() / 2)


def _sigmoid(z: Array) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-z)), without overflow."""
    result: npt.NDArray[np.float64] = (1 + np.tanh(z / 2)) / 2
    return result


def _matrix(features: Array, names: Sequence[str]) -> Array:
    """(N, F) as float64, with a column for each name, checked."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or features.shape[1] != len(names):
        raise DataError("features", f"shape {features.shape}", f"a column each for {', '.join(names)}", "")
    bad = ~np.isfinite(features).all(0)
    if bad.any():
        raise DataError("features", f"'{names[int(bad.argmax())]}' has NaN or infinity", "finite numbers", "")
    return features


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


# Forced alignment

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
        raise DataError("alignment", counted(frames, "frame"), f"at least {needed} for these labels", remedy)
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
