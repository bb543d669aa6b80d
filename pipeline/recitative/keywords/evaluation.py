"""Evaluation of keyword spotting on data directories with transcripts: scores, trade-offs, thresholds for a rate.

Each utterance is one segment. The time of a word in its transcript comes from DATA/words.ctm (``asr.alignment``), or
else from the model's own forced alignment. Where there is neither, as for words that a recognizer cannot write and for
classifiers, the word may be anywhere in the utterance. The files that are written:

keywords.json   for all together and for each keyword: counts at its threshold with 95 % intervals, and its trade-off, a
                pair of false alarms per hour and miss rate for each of ``levels``
det.svg         the trade-offs as curves, and the point at the thresholds
thresholds      JSON, for one model: the least confidence of a detection of each keyword
                {"model": "5f0c...", "data": "data/dev", "hours": 0.63, "false_alarms_per_hour": 1.0,
                "thresholds": {"yes": 0.62}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recitative.asr.alignment import Pronounce, pronounce_with, read_word_times
from recitative.asr.stream import DecodedNetwork, Transcriber
from recitative.atomic import write_text
from recitative.data.directory import DataDirectory, Utterance
from recitative.decoding.hypotheses import align_words
from recitative.errors import DataError
from recitative.features.extraction import BATCH, audio_durations_s, read_utterance
from recitative.keywords.search import DetectionCandidate, DetectionDecoder, DetectionRules, pick
from recitative.reading import checked, read_json
from recitative.report.charts import OperatingPoint, det_curve
from recitative.report.figure import save_figure
from recitative.score.classification import LEVELS, DetectionCounts, Span, choose_level, count_found
from recitative.stage import Array


@dataclass(frozen=True)
class SearchedUtterance:
    """For each keyword its candidates above the lowest level, numbered as keyword 0, and when it is spoken."""

    utt_id: str
    duration_s: float
    candidates: tuple[tuple[DetectionCandidate, ...], ...]
    occurrences: tuple[tuple[Span, ...], ...]


@dataclass(frozen=True)
class SearchedSet:
    """The utterances of data directories with their candidates, and the rules that make detections of these."""

    keywords: tuple[str, ...]
    utterances: tuple[SearchedUtterance, ...]
    rules: DetectionRules
    frame_s: float

    @property
    def hours(self) -> float:
        return sum(utterance.duration_s for utterance in self.utterances) / 3600

    def count(self, keyword: int, threshold: float) -> DetectionCounts:
        """The counts of a search with this threshold."""
        occurrences = found = detections = 0
        for utterance in self.utterances:
            picked = pick(utterance.candidates[keyword], [threshold], self.rules)
            spans = [(one.begin * self.frame_s, one.end * self.frame_s) for one in picked]
            occurrences += len(utterance.occurrences[keyword])
            found += count_found(utterance.occurrences[keyword], spans)
            detections += len(spans)
        return DetectionCounts(occurrences, found, detections - found, self.hours)

    def trade_off(self, keyword: int) -> list[DetectionCounts]:
        """The counts at each of ``LEVELS``."""
        return [self.count(keyword, level) for level in LEVELS]


def search_directories(
    network: DecodedNetwork,
    decoder: DetectionDecoder[Any],
    folders: Sequence[Path],
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> SearchedSet:
    """decoder: with thresholds at the lowest level. Raises DataError for audio that cannot be read, for an utterance
    without transcript and for times that do not fit."""
    utterances: list[tuple[Utterance, list[Span] | None]] = []  # with word times, where words.ctm has them
    for folder in folders:
        read = DataDirectory.read(folder).utterances
        times = read_word_times(folder, read)
        utterances += [(utterance, times.get(utterance.utt_id)) for utterance in read]
    for utterance, _ in utterances:
        if utterance.text is None:
            remedy = "transcribe it, or leave it out"
            raise DataError(f"utterance '{utterance.utt_id}'", "has no transcript", "words, or an empty text", remedy)
    durations = audio_durations_s([utterance for utterance, _ in utterances], network.sample_rate)
    searched: list[SearchedUtterance] = []
    by_length = np.argsort(durations, kind="stable").tolist()  # utterances of one batch are padded to one length
    for start in range(0, len(by_length), BATCH):
        numbers = by_length[start : start + BATCH]
        searched += _search(network, decoder, [utterances[i] for i in numbers], durations[numbers].tolist())
        advance(len(searched), len(utterances))
    return SearchedSet(decoder.phrases, tuple(searched), decoder.rules, network.frame_s)


def _search(
    network: DecodedNetwork,
    decoder: DetectionDecoder[Any],
    batch: Sequence[tuple[Utterance, list[Span] | None]],
    durations: Sequence[float],
) -> Iterator[SearchedUtterance]:
    pronounce = pronounce_with(network) if isinstance(network, Transcriber) else None
    phrases = [tuple(phrase.split()) for phrase in decoder.phrases]
    rows = network.log_probs([read_utterance(utterance) for utterance, _ in batch])
    for (utterance, spans), duration_s, log_probs in zip(batch, durations, rows, strict=True):
        words = tuple((utterance.text or "").split())
        places = [_places(words, phrase) for phrase in phrases]
        if spans is None and any(places) and isinstance(network, Transcriber) and pronounce:
            spans = _word_spans(network, pronounce, log_probs, words)
        occurrences = tuple(
            tuple((0.0, duration_s) if spans is None else (spans[i][0], spans[i + len(phrase) - 1][1]) for i in found)
            for phrase, found in zip(phrases, places, strict=True)
        )
        candidates: list[list[DetectionCandidate]] = [[] for _ in phrases]
        for candidate in decoder.candidates(log_probs):
            candidates[candidate.keyword].append(replace(candidate, keyword=0))
        yield SearchedUtterance(utterance.utt_id, duration_s, tuple(map(tuple, candidates)), occurrences)


def _word_spans(
    transcriber: Transcriber, pronounce: Pronounce, log_probs: Array, words: Sequence[str]
) -> list[Span] | None:
    """The times of the words, in seconds, by forced alignment; None where they cannot be aligned."""
    try:
        ways = [pronounce(word) for word in words]
        if not all(ways):
            return None
        path = align_words(log_probs, ways, separator=transcriber.tokens.space)
    except DataError:  # a word that the model cannot write, or an utterance too short for its words
        return None
    return [(word.begin * transcriber.frame_s, word.end * transcriber.frame_s) for word in path.words]


def _places(words: Sequence[str], phrase: Sequence[str]) -> list[int]:
    """Where the phrase begins among the words."""
    size = len(phrase)
    return [place for place in range(len(words) - size + 1) if tuple(words[place : place + size]) == tuple(phrase)]


@dataclass(frozen=True)
class TunedKeyword:
    """within_limit: whether the rate is at most the wanted one; else the threshold is the highest level."""

    keyword: str
    threshold: float
    detections: DetectionCounts
    within_limit: bool


def tune_thresholds(searched: SearchedSet, most_per_hour: float) -> list[TunedKeyword]:
    """For each keyword the threshold at which it has at most so many false alarms per hour."""
    tuned = []
    for number, keyword in enumerate(searched.keywords):
        at_levels = searched.trade_off(number)
        level = choose_level(at_levels, most_per_hour)
        chosen = len(LEVELS) - 1 if level is None else level
        tuned.append(TunedKeyword(keyword, round(LEVELS[chosen], 4), at_levels[chosen], level is not None))
    return tuned


@dataclass(frozen=True)
class SpottingScores:
    """keywords, thresholds, counts: one for each; trade_offs: counts at each of ``LEVELS``."""

    keywords: tuple[str, ...]
    thresholds: tuple[float, ...]
    counts: tuple[DetectionCounts, ...]
    trade_offs: tuple[tuple[DetectionCounts, ...], ...]

    @classmethod
    def of(cls, searched: SearchedSet, thresholds: Sequence[float]) -> SpottingScores:
        counts = tuple(searched.count(number, threshold) for number, threshold in enumerate(thresholds))
        trade_offs = tuple(tuple(searched.trade_off(number)) for number in range(len(searched.keywords)))
        return cls(searched.keywords, tuple(thresholds), counts, trade_offs)

    @property
    def together(self) -> DetectionCounts:
        return DetectionCounts.together(self.counts)

    def write(self, output: Path, title: str) -> None:
        """Write keywords.json and det.svg; atomic."""
        by_level = [DetectionCounts.together(at_level) for at_level in zip(*self.trade_offs, strict=True)]
        rows = zip(self.keywords, self.thresholds, self.counts, self.trade_offs, strict=True)
        scored = {
            "levels": [round(level, 4) for level in LEVELS],
            "all": _as_object(self.together, by_level),
            "keywords": {name: {"threshold": bar} | _as_object(at, levels) for name, bar, at, levels in rows},
        }
        write_text(output / "keywords.json", json.dumps(scored, ensure_ascii=False, indent=1) + "\n")
        curves = {name: _points(at_levels) for name, at_levels in zip(self.keywords, self.trade_offs, strict=True)}
        chosen = (self.together.per_hour, self.together.miss_rate) if self.together.occurrences else None
        save_figure(det_curve(title, curves, _points(by_level), chosen), output / "det.svg")


def _as_object(counts: DetectionCounts, at_levels: Sequence[DetectionCounts]) -> dict[str, Any]:
    points = [[round(per_hour, 4), round(miss, 4)] for per_hour, miss in _points(at_levels)]
    return counts.as_object() | {"trade_off": points}


def _points(at_levels: Sequence[DetectionCounts]) -> list[OperatingPoint]:
    """Empty for a keyword that never occurs."""
    return [(counts.per_hour, counts.miss_rate) for counts in at_levels if counts.occurrences]


@dataclass(frozen=True)
class KeywordThresholds:
    """model: ``fingerprint``; data, hours: of the tuning; false_alarms_per_hour: the limit for each keyword."""

    model: str
    data: str
    hours: float
    false_alarms_per_hour: float
    thresholds: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> KeywordThresholds:
        """Raises DataError for any other file."""
        wanted, remedy = "a file of 'recitative keywords tune'", "make it again"
        found = checked(cls, read_json(path, wanted), str(path), wanted, remedy)
        if not all(0.0 < value <= 1.0 for value in found.thresholds.values()):
            raise DataError(str(path), "holds no thresholds above 0 and at most 1", wanted, remedy)
        return found

    def write(self, path: Path) -> None:
        """Atomic."""
        write_text(path, json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n")

    def require(self, path: Path, model: Path, keywords: Iterable[str]) -> None:
        """Raises DataError if they were set for another model or lack one of the keywords."""
        if self.model != fingerprint(model):
            remedy = "tune them for this one with 'recitative keywords tune'"
            raise DataError(str(path), f"is for another model than {model}", "the model that it was tuned with", remedy)
        missing = [keyword for keyword in keywords if keyword not in self.thresholds]
        if missing:
            known = ", ".join(f"'{keyword}'" for keyword in self.thresholds)
            remedy = f"give it one yourself, '{missing[0]}:0.8', or tune it"
            raise DataError(str(path), f"has no threshold of keyword '{missing[0]}'", f"only {known}", remedy)


def fingerprint(model: Path) -> str:
    """16 hexadecimal digits of a model file's SHA-256, or of all files of a model folder."""
    digest = hashlib.sha256()
    for path in sorted(model.rglob("*")) if model.is_dir() else [model]:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
