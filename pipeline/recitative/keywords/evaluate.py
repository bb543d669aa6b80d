"""Keywords in data directories, whose transcripts tell where they are said: thresholds for a rate, scores, trade-offs.

Every utterance is heard whole, as one segment. When a word of its transcript is said tells DATA/words.ctm
(``asr.alignment``), or else the model's own forced alignment; where there is neither, as for words that a
recogniser cannot write and for classifiers, the word may be anywhere in the utterance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from recitative.asr.alignment import Pronounce, pronounce_with, read_word_times
from recitative.asr.decoding import BATCH
from recitative.asr.transcriber import DecodedNetwork, Transcriber
from recitative.data.directory import DataDirectory, Utterance
from recitative.decoding.alignment import align_words
from recitative.errors import DataError
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.keywords.detections import DetectionCandidate, DetectionRules, pick
from recitative.score.spotting import LEVELS, DetectionCounts, Span, choose_level, count_found
from recitative.stage import Array


class Spotter(Protocol):
    """A decoder of keywords: ``models.spotter.KeywordSpotter`` or ``models.label_spotter.LabelSpotter``."""

    phrases: tuple[str, ...]
    rules: DetectionRules

    def candidates(self, log_probs: Array) -> list[DetectionCandidate]:
        """Of a whole recording (T, V): what the hits are picked from."""
        ...


@dataclass(frozen=True)
class HeardUtterance:
    """For each keyword its candidates above the lowest level, as those of keyword 0, and when it is said."""

    utt_id: str
    duration_s: float
    candidates: tuple[tuple[DetectionCandidate, ...], ...]
    occurrences: tuple[tuple[Span, ...], ...]


@dataclass(frozen=True)
class HeardSet:
    """All utterances that were heard, and how what they hold becomes hits."""

    keywords: tuple[str, ...]
    utterances: tuple[HeardUtterance, ...]
    rules: DetectionRules
    frame_s: float

    @property
    def hours(self) -> float:
        return sum(utterance.duration_s for utterance in self.utterances) / 3600

    def count(self, keyword: int, threshold: float) -> DetectionCounts:
        """What a search with this threshold finds."""
        occurrences = found = hits = 0
        for utterance in self.utterances:
            spans = self._hits(utterance, keyword, threshold)
            occurrences += len(utterance.occurrences[keyword])
            found += count_found(utterance.occurrences[keyword], spans)
            hits += len(spans)
        return DetectionCounts(occurrences, found, hits - found, self.hours)

    def trade_off(self, keyword: int) -> list[DetectionCounts]:
        """At each of ``LEVELS``."""
        return [self.count(keyword, level) for level in LEVELS]

    def _hits(self, utterance: HeardUtterance, keyword: int, threshold: float) -> list[Span]:
        hits = pick(utterance.candidates[keyword], [threshold], self.rules)
        return [(hit.begin * self.frame_s, hit.end * self.frame_s) for hit in hits]


@dataclass(frozen=True)
class TunedKeyword:
    """kept: whether the wanted rate is; else the threshold is the highest level, and there are more."""

    keyword: str
    threshold: float
    detections: DetectionCounts
    kept: bool


def hear_directories(
    network: DecodedNetwork,
    spotter: Spotter,
    folders: Sequence[Path],
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> HeardSet:
    """spotter: with thresholds at the lowest level. Raises DataError for audio that cannot be read, for an utterance
    without transcript and for times that do not fit."""
    told = [pair for folder in folders for pair in _with_times(folder)]
    for utterance, _ in told:
        if utterance.text is None:
            remedy = "transcribe it, or leave it out"
            raise DataError(f"utterance '{utterance.utt_id}'", "has no transcript", "words, or an empty text", remedy)
    durations = audio_durations_s([utterance for utterance, _ in told], network.sample_rate)
    heard: list[HeardUtterance] = []
    by_length = np.argsort(durations, kind="stable").tolist()  # what is heard together is padded to one length
    for start in range(0, len(by_length), BATCH):
        numbers = by_length[start : start + BATCH]
        heard += _hear(network, spotter, [told[i] for i in numbers], durations[numbers].tolist())
        advance(len(heard), len(told))
    return HeardSet(spotter.phrases, tuple(heard), spotter.rules, network.frame_s)


def tune_thresholds(heard: HeardSet, most_per_hour: float) -> list[TunedKeyword]:
    """For each keyword the threshold at which it has at most so many false alarms per hour."""
    tuned = []
    for number, keyword in enumerate(heard.keywords):
        at_levels = heard.trade_off(number)
        level = choose_level(at_levels, most_per_hour)
        chosen = len(LEVELS) - 1 if level is None else level
        tuned.append(TunedKeyword(keyword, round(LEVELS[chosen], 4), at_levels[chosen], level is not None))
    return tuned


def _with_times(folder: Path) -> list[tuple[Utterance, list[Span] | None]]:
    """The utterances, and where the folder tells it when their words are said."""
    utterances = DataDirectory.read(folder).utterances
    times = read_word_times(folder, utterances)
    return [(utterance, times.get(utterance.utt_id)) for utterance in utterances]


def _hear(
    network: DecodedNetwork,
    spotter: Spotter,
    group: Sequence[tuple[Utterance, list[Span] | None]],
    durations: Sequence[float],
) -> Iterator[HeardUtterance]:
    aligned = _aligner(network)
    rows = network.log_probs([read_utterance(utterance) for utterance, _ in group])
    phrases = [tuple(phrase.split()) for phrase in spotter.phrases]
    for (utterance, spans), duration_s, log_probs in zip(group, durations, rows, strict=True):
        words = tuple((utterance.text or "").split())
        if spans is None and any(_places(words, phrase) for phrase in phrases):
            spans = aligned(log_probs, words)
        occurrences = tuple(_occurrences(words, phrase, spans, duration_s) for phrase in phrases)
        candidates = _by_keyword(spotter.candidates(log_probs), len(phrases))
        yield HeardUtterance(utterance.utt_id, duration_s, candidates, occurrences)


def _aligner(network: DecodedNetwork) -> Callable[[Array, Sequence[str]], list[Span] | None]:
    """What tells when each word is said; of a model that writes no words nothing does."""
    if isinstance(network, Transcriber):
        return partial(_word_spans, network, pronounce_with(network))
    return lambda log_probs, words: None


def _by_keyword(candidates: Sequence[DetectionCandidate], count: int) -> tuple[tuple[DetectionCandidate, ...], ...]:
    groups: list[list[DetectionCandidate]] = [[] for _ in range(count)]
    for candidate in candidates:
        groups[candidate.keyword].append(replace(candidate, keyword=0))
    return tuple(map(tuple, groups))


def _word_spans(
    transcriber: Transcriber, pronounce: Pronounce, log_probs: Array, words: Sequence[str]
) -> list[Span] | None:
    """When each word is said, in seconds; None where that cannot be told."""
    try:
        ways = [pronounce(word) for word in words]
        if not all(ways):
            return None
        path = align_words(log_probs, ways, separator=transcriber.tokens.space)
    except DataError:  # a word that the model cannot write, or an utterance too short for its words
        return None
    return [(word.begin * transcriber.frame_s, word.end * transcriber.frame_s) for word in path.words]


def _occurrences(
    words: Sequence[str], phrase: Sequence[str], spans: Sequence[Span] | None, duration_s: float
) -> tuple[Span, ...]:
    places = _places(words, phrase)
    if spans is None:
        return ((0.0, duration_s),) * len(places)
    return tuple((spans[place][0], spans[place + len(phrase) - 1][1]) for place in places)


def _places(words: Sequence[str], phrase: Sequence[str]) -> list[int]:
    """Where the phrase begins among the words."""
    size = len(phrase)
    return [place for place in range(len(words) - size + 1) if tuple(words[place : place + size]) == tuple(phrase)]
