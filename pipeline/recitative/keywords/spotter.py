"""Keyword spotting in recordings and in streams, by a recognizer or by a classifier of keywords. NumPy only.

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
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recitative import pretrained
from recitative.asr.kind import RECOGNIZER
from recitative.asr.pronunciation import guess
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import DecodedNetwork, DecodedStream, Transcriber, load_transcriber
from recitative.asr.transcript import Segment
from recitative.audio.files import AudioInput
from recitative.audio.vad import UNCUT
from recitative.classification.classifier import CLASSIFIER, Classifier, load_classifier
from recitative.decoding.hotwords import Phrase, PhraseKind, parse_phrases, spellings, write_words
from recitative.errors import Problem, UsageError, raise_all
from recitative.keywords.search import (
    DetectionDecoder,
    DetectionRules,
    Keyword,
    LabelSearch,
    LabelState,
    PhraseSearch,
    PhraseState,
    WordEdges,
)
from recitative.kinds import kind_of
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable, Word

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
