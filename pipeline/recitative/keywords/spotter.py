"""Keyword spotting in recordings and in streams, by a recognizer or by a classifier of keywords, and its evaluation.

spotter = Spotter.load("an4-streaming", "enter, rubout:0.9")
spotter.spot("recording.flac")            # detections: keyword, start_s, end_s, confidence
stream = spotter.stream()
stream.accept(samples, 48000)             # detections as they become certain
stream.finish()

A recognizer finds any phrase that its tokens can write (``phrase_decoder``). A detection is certain ``HOLD_S`` after
the keyword's last label, or where tokens mark word boundaries, ``EDGE_HOLD_S`` after the space behind it or
``SILENCE_S`` of silence: 0.4 s at most, in addition to the model's own look-ahead.

A classifier finds its labels (``label_decoder``). It must depend on the recent past only (``model.pooling=recent``). A
stream is one segment from beginning to end: it is not cut at pauses, and no voice activity detector is used. A
detection is reported ``LABEL_HOLD_S`` after its peak. While the confidence stays above the threshold, or returns to it
within ``REFRACTORY_S``, it is one detection.

Evaluation is on data directories with transcripts; each utterance is one segment. The time of a word in its transcript
comes from DATA/words.ctm (``asr.alignment``), or else from the model's own forced alignment. Where there is neither, as
for words that a recognizer cannot write and for classifiers, the word may be anywhere in the utterance. The files that
are written:

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

from recitative import pretrained
from recitative.asr.alignment import Pronounce, pronounce_with, read_word_times
from recitative.asr.kind import RECOGNIZER
from recitative.asr.pronunciation import guess
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import DecodedNetwork, DecodedStream, Transcriber, load_transcriber
from recitative.asr.transcript import Segment
from recitative.atomic import write_text
from recitative.audio.files import AudioInput
from recitative.audio.vad import UNCUT
from recitative.classification.classifier import CLASSIFIER, Classifier, load_classifier
from recitative.data.directory import DataDirectory, Utterance
from recitative.decoding.hotwords import Phrase, PhraseKind, parse_phrases, spellings, write_words
from recitative.decoding.hypotheses import align_words
from recitative.errors import DataError, Problem, UsageError, raise_all
from recitative.features.extraction import BATCH, audio_durations_s, read_utterance
from recitative.keywords.search import (
    DetectionCandidate,
    DetectionDecoder,
    DetectionRules,
    Keyword,
    LabelSearch,
    LabelState,
    PhraseSearch,
    PhraseState,
    WordEdges,
    pick,
)
from recitative.kinds import kind_of
from recitative.reading import checked, read_json
from recitative.report.charts import OperatingPoint, det_curve
from recitative.report.figure import save_figure
from recitative.score.classification import LEVELS, DetectionCounts, Span, choose_level, count_found
from recitative.stage import Array
from recitative.text.tokens import Lexicon, TokenTable, Word

KIND = PhraseKind("keyword", "threshold", largest=1.0, example=0.5)

THRESHOLD = 0.8  # default confidence threshold

SILENCE_S = 0.3  # of blanks mark a word boundary
HOLD_S = 0.4  # a candidate waits so long for a better one, and for a longer word that contains it
EDGE_HOLD_S = 0.1  # the same where tokens mark word boundaries: then no longer word can come
MARGIN = 3.0  # nats by which such a longer word may be less probable and still be the one that was spoken

SMOOTH_S = 0.2  # posteriors of labels are averaged over this time
LABEL_HOLD_S = 0.3  # a candidate waits so long for a better one
REFRACTORY_S = 0.15  # the confidence must stay below the threshold for so long before a new detection


@dataclass(frozen=True)
class Spotted:
    """A detected keyword, with times in seconds from the start of the recording; confidence: 0..1."""

    keyword: str
    start_s: float
    end_s: float
    confidence: float

    @classmethod
    def of(cls, word: Word) -> Spotted:
        """From a word of a ``DetectionDecoder``."""
        return cls(word.word, word.start_s, word.end_s, word.confidence)

    def to_dict(self) -> dict[str, Any]:
        """type, keyword, start, end (s), confidence."""
        times = {"start": self.start_s, "end": self.end_s}
        return {"type": "spotted", "keyword": self.keyword, **times, "confidence": self.confidence}


class Spotter:
    """A model that looks for keywords. Threads may share it; a stream belongs to one at a time."""

    def __init__(self, recognizer: Recognizer) -> None:
        """recognizer: with a network made by ``with_keywords``."""
        self.recognizer = recognizer

    @classmethod
    def load(
        cls, model: str | Path, keywords: str, thresholds: Mapping[str, float] | None = None, *, threads: int = 1
    ) -> Spotter:
        """Load a file made by ``recitative export``, or a pretrained model by name. Raises DataError, UsageError.

        keywords: separated by commas, with thresholds if needed: "yes, stop:0.8"; thresholds: of the others, by phrase.
        """
        path, name = pretrained.find(model), pretrained.name_of(model)
        if kind_of(path, [RECOGNIZER, CLASSIFIER]) is CLASSIFIER:
            return cls.of(load_classifier(path, threads=threads), keywords, thresholds, name=name)
        return cls.of(Recognizer(load_transcriber(path, threads=threads)), keywords, thresholds, name=name)

    @classmethod
    def of(cls, model: Any, keywords: str, thresholds: Mapping[str, float] | None = None, *, name: str = "") -> Spotter:
        """A loaded recognizer or classifier. Raises what ``load`` raises."""
        phrases = parse_keywords(keywords)
        network = model.network if isinstance(model, Recognizer) else model
        if isinstance(network, Classifier):
            return cls(Recognizer(with_keywords(network, label_decoder(network, phrases, thresholds)), name))
        if isinstance(network, Transcriber):
            return cls(Recognizer(with_keywords(network, phrase_decoder(network, phrases, thresholds)), name))
        raise UsageError("keywords are found by recognizers and by classifiers; use one of these")

    def spot(self, audio: AudioInput, sample_rate: int | None = None) -> tuple[Spotted, ...]:
        """The detections in a whole recording, in any form that ``Recognizer.transcribe`` takes."""
        return tuple(map(Spotted.of, self.recognizer.transcribe(audio, sample_rate).words))

    def stream(self) -> KeywordStream:
        """Raises UsageError if the model needs whole recordings."""
        self.recognizer.require_streaming()
        return KeywordStream(self.recognizer.network)


class KeywordStream(DecodedStream[Spotted]):
    """One stream of audio, whose events are detections, each once, as they become certain. Memory does not grow."""

    def _segment_ended(self, segment: Segment) -> None:
        self._events += map(Spotted.of, segment.words)

    def _news(self, *, ended: bool) -> list[Spotted]:
        decoder = self.network.decoder
        certain = [word.later(self._start_s) for word in decoder.partial(self._decoded).words]
        self._decoded = decoder.forget(self._decoded)
        return [*super()._news(ended=ended), *map(Spotted.of, certain)]


def can_spot(model: Any) -> bool:
    """Whether ``Spotter.of`` takes a model."""
    if isinstance(model, Classifier):
        return model.settings.model.pooling == "recent" and model.lookahead is not None
    return isinstance(model, Recognizer)


class LabelNetwork(DecodedNetwork):
    """A classifier's network with the decoder of its keywords."""

    def __init__(self, classifier: Classifier, decoder: DetectionDecoder[LabelState]) -> None:
        super().__init__(classifier.network, classifier.settings.features)
        self.settings = classifier.settings
        self.decoder = decoder
        self.segments = UNCUT


def with_keywords(model: Transcriber | Classifier, decoder: DetectionDecoder[Any]) -> DecodedNetwork:
    """The same model, whose words are detections."""
    return model.with_decoder(decoder) if isinstance(model, Transcriber) else LabelNetwork(model, decoder)


def parse_keywords(text: str) -> list[Phrase]:
    """A list as ``decoding.hotwords`` describes it, whose numbers are thresholds.

    Raises UsageError, also for a repeated keyword and for an empty list.
    """
    return require_keywords(parse_phrases(text, KIND))


def require_keywords(phrases: list[Phrase]) -> list[Phrase]:
    """The phrases, if they are distinct keywords; raises what ``parse_keywords`` does."""
    if not phrases:
        raise UsageError("keywords: none is named; write them with commas between: 'yes, stop'")
    texts = [phrase.text for phrase in phrases]
    for number, phrase in enumerate(phrases):
        if phrase.text in texts[:number]:
            raise UsageError(f"keyword '{phrase.text}': stands twice; name it once")
        if phrase.number == 0.0:
            raise UsageError(f"keyword '{phrase.text}': threshold 0 would take everything; it must be above 0, up to 1")
    return phrases


def thresholds_of(phrases: Sequence[Phrase], thresholds: Mapping[str, float] | None) -> list[float]:
    """The threshold of each phrase: its own, else the one in ``thresholds``, else ``THRESHOLD``."""
    return [phrase.number or (thresholds or {}).get(phrase.text, THRESHOLD) for phrase in phrases]


# Labels of a classifier


def label_decoder(
    classifier: Classifier, phrases: Sequence[Phrase], thresholds: Mapping[str, float] | None = None
) -> DetectionDecoder[LabelState]:
    """thresholds: of phrases without one of their own; see ``thresholds_of``.

    Raises UsageError for a classifier of whole recordings and for a phrase with a pronunciation, one DataError for all
    phrases that are no label.
    """
    _require_stream(classifier)
    for phrase in phrases:
        if phrase.pronunciation:
            raise UsageError(
                f"keyword '{phrase.text}': a classifier hears whole labels and takes no pronunciation; leave it out"
            )
    texts, labels = [phrase.text for phrase in phrases], classifier.labels
    allowed = f"one of its labels: {', '.join(labels)}"
    unknown = [text for text in texts if text not in labels]
    raise_all([Problem(f"keyword '{text}'", "is no label of the classifier", allowed, "") for text in unknown])
    smooth, hold, refractory = (
        max(1, round(seconds / classifier.frame_s)) for seconds in (SMOOTH_S, LABEL_HOLD_S, REFRACTORY_S)
    )
    search = LabelSearch(
        [labels.index(text) for text in texts],
        thresholds_of(phrases, thresholds),
        smooth_frames=smooth,
        input_frames=classifier.settings.model.pooling_frames,
    )
    return DetectionDecoder(search, texts, DetectionRules(hold, refractory_frames=refractory), classifier.frame_s)


def _require_stream(classifier: Classifier) -> None:
    model = classifier.settings.model
    if model.pooling != "recent":
        raise UsageError(
            f"this classifier names whole recordings (model.pooling={model.pooling}): in a stream it would hear all "
            "that came before; train one with model.pooling=recent"
        )
    if classifier.lookahead is None:
        raise UsageError(
            "this classifier needs the whole recording; keywords need a 'forward' or 'latency_controlled' core and "
            "model.cmvn 'global' or 'running'"
        )


# Phrases of a recognizer


def phrase_decoder(
    transcriber: Transcriber,
    phrases: Sequence[Phrase],
    thresholds: Mapping[str, float] | None = None,
    *,
    within_words: bool = False,
) -> DetectionDecoder[PhraseState]:
    """thresholds: of phrases without one of their own; see ``thresholds_of``.

    within_words: "yes" is found in "yesterday" too. Raises one DataError for all words that the model cannot write.
    """
    tokens, frame_s = transcriber.tokens, transcriber.frame_s
    edges = None if within_words else word_edges(tokens, frame_s)
    keywords = keywords_of(phrases, tokens, transcriber.language.lexicon or Lexicon({}))
    if edges is not None or within_words:
        keywords = [replace(keyword, rivals=()) for keyword in keywords]
    search = PhraseSearch(keywords, thresholds_of(phrases, thresholds), edges=edges, margin=MARGIN)
    rules = DetectionRules(max(1, round((EDGE_HOLD_S if edges else HOLD_S) / frame_s)), MARGIN)
    return DetectionDecoder(search, [phrase.text for phrase in phrases], rules, frame_s)


def word_edges(tokens: TokenTable, frame_s: float) -> WordEdges | None:
    """How a table's tokens mark word boundaries: characters by the space between, pieces by those that begin words.

    None for tables that don't, such as phones, and for whole words, which don't need it.
    """
    silence_frames = max(1, round(SILENCE_S / frame_s))
    if tokens.space is not None:
        return WordEdges((tokens.space,), before=True, silence_frames=silence_frames)
    if tokens.unit == "piece":
        starts = tuple(number for symbol, number in tokens.ids.items() if symbol.startswith(" "))
        return WordEdges(starts, before=False, silence_frames=silence_frames)
    return None


def keywords_of(phrases: Sequence[Phrase], tokens: TokenTable, lexicon: Lexicon) -> list[Keyword]:
    """The label sequences of each phrase, and the longer words of the lexicon that contain one.

    Raises one DataError for all words that the model cannot write.
    """
    words = {word for phrase in phrases for word in phrase.text.split()}
    given = {phrase.text: (phrase.pronunciation,) for phrase in phrases if phrase.pronunciation}
    written = write_words(words, given, tokens, lexicon, KIND.name, guess)
    known = {labels for word in lexicon.entries for labels in lexicon.pronunciations(word, tokens)}
    keywords = []
    for phrase in phrases:
        ways = tuple(dict.fromkeys(_join(way, tokens.space) for way in spellings(phrase.text, written, tokens)))
        longer = {labels for labels in known for way in ways if _contains(labels, way)}
        # A longer spelling of the same word is no rival: "one" with and without an initial "h" is one word.
        keywords.append(Keyword(phrase.text, ways, tuple(sorted(longer - set(ways)))))
    return keywords


def _join(words: Sequence[tuple[int, ...]], space: int | None) -> tuple[int, ...]:
    """The labels of a phrase, with the space between words if the table has one."""
    between = () if space is None else (space,)
    return words[0] + tuple(label for word in words[1:] for label in (*between, *word))


def _contains(longer: tuple[int, ...], labels: tuple[int, ...]) -> bool:
    """Whether ``labels`` is a proper part of ``longer``."""
    size = len(labels)
    return len(longer) > size and any(longer[i : i + size] == labels for i in range(len(longer) - size + 1))


# Evaluation on data directories


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
