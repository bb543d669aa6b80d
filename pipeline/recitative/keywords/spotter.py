"""A recognizer asked for keywords instead of words: a decoder whose words are hits.

    phrases = parse_keywords("yes, stop:0.8, pittsburgh=P IH T S B ER G")
    spotter = spot_with(transcriber, phrases)         # a transcriber like any other

A hit is known ``HOLD_S`` after the keyword's last label, or where tokens tell of words, ``EDGE_HOLD_S`` after the space
behind it or ``SILENCE_S`` of silence: 0.4 s at most, in addition to the model's own look-ahead. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from recitative.asr.decoders import Spoken
from recitative.asr.pronouncer import guess
from recitative.asr.transcriber import Transcriber
from recitative.decoding.hotwords import Phrase, PhraseKind, parse_phrases, spellings, write_words
from recitative.errors import UsageError
from recitative.keywords.detections import (
    DetectionCandidate,
    DetectionDecoder,
    DetectionRules,
    DetectionState,
    Track,
    finish,
    follow,
    new_tracks,
)
from recitative.keywords.search import Keyword, KeywordSearch, SearchState, WordEdges
from recitative.stage import Array
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

KIND = PhraseKind("keyword", "threshold", largest=1.0, example=0.5)

THRESHOLD = 0.8  # the confidence from which a candidate is a hit, if nobody says otherwise
SILENCE_S = 0.3  # of blanks do for the edge of a word
HOLD_S = 0.4  # a candidate waits so long for a better one, and for a longer word that contains it
EDGE_HOLD_S = 0.1  # the same where the edges of words are heard: then no longer word can come
MARGIN = 3.0  # nats by which such a longer word may be less probable and still be what was said


@dataclass(frozen=True)
class Heard:
    """Where the search is, and what waits."""

    search: SearchState
    tracks: tuple[Track, ...]


class KeywordSpotter(DetectionDecoder[Heard]):
    """A decoder (``asr.decoders``) that writes the keywords it hears, in the order in which they are certain."""

    def __init__(
        self, keywords: Sequence[Keyword], thresholds: Sequence[float], frame_s: float, edges: WordEdges | None
    ) -> None:
        """thresholds: above 0, one for each keyword; edges: of words, None = a keyword may stand within a word."""
        super().__init__([keyword.phrase for keyword in keywords], frame_s)
        self.keywords = tuple(keywords)
        self.rules = DetectionRules(max(1, round((EDGE_HOLD_S if edges else HOLD_S) / frame_s)), MARGIN)
        self._search = KeywordSearch(self.keywords, thresholds, edges=edges, margin=MARGIN)

    def start(self) -> DetectionState[Heard]:
        return DetectionState(Heard(self._search.start(), new_tracks(len(self.keywords))))

    def step(self, log_probs: Array, state: DetectionState[Heard]) -> DetectionState[Heard]:
        candidates, search = self._search.step(log_probs, state.search.search)
        hits, tracks = follow(state.search.tracks, candidates, search.frame, self.rules)
        return DetectionState(Heard(search, tracks), self.words(state, hits))

    def num_frames(self, state: DetectionState[Heard]) -> int:
        return state.search.search.frame

    def finish(self, state: DetectionState[Heard]) -> Spoken:
        search = state.search.search
        hits = finish(state.search.tracks, self._search.finish(search), search.frame, self.rules)
        return Spoken((), self.words(state, hits))

    def candidates(self, log_probs: Array) -> list[DetectionCandidate]:
        """Of a whole recording (T, V): what the hits are picked from."""
        found, state = self._search.step(log_probs, self._search.start())
        return found + self._search.finish(state)


def parse_keywords(text: str) -> list[Phrase]:
    """A list as ``decoding.hotwords`` describes it; the number is a threshold. Raises UsageError, also for a keyword
    that stands twice and for an empty list."""
    return require_keywords(parse_phrases(text, KIND))


def require_keywords(phrases: list[Phrase]) -> list[Phrase]:
    """The phrases, if each is a keyword of its own; raises what ``parse_keywords`` does."""
    if not phrases:
        raise UsageError("keywords: none is named; write them with commas between: 'yes, stop'")
    texts = [phrase.text for phrase in phrases]
    for number, phrase in enumerate(phrases):
        if phrase.text in texts[:number]:
            raise UsageError(f"keyword '{phrase.text}': stands twice; name it once")
        if phrase.number == 0.0:
            raise UsageError(f"keyword '{phrase.text}': threshold 0 would take everything; it must be above 0, up to 1")
    return phrases


def spot_with(
    transcriber: Transcriber,
    phrases: Sequence[Phrase],
    thresholds: Mapping[str, float] | None = None,
    *,
    within_words: bool = False,
) -> Transcriber:
    """The same model with a ``KeywordSpotter``.

    thresholds: of phrases that have none of their own, ``THRESHOLD`` for those that it lacks; within_words: "yes" is
    found in "yesterday" too. Raises DataError for what the model cannot write.
    """
    return transcriber.with_decoder(new_spotter(transcriber, phrases, thresholds, within_words=within_words))


def new_spotter(
    transcriber: Transcriber,
    phrases: Sequence[Phrase],
    thresholds: Mapping[str, float] | None = None,
    *,
    within_words: bool = False,
) -> KeywordSpotter:
    """As ``spot_with``."""
    bars = thresholds_of(phrases, thresholds or {})
    edges = None if within_words else word_edges(transcriber.tokens, transcriber.frame_s)
    keywords = keywords_of(phrases, transcriber.tokens, transcriber.language.lexicon or Lexicon({}))
    if edges is not None or within_words:
        keywords = [replace(keyword, rivals=()) for keyword in keywords]
    return KeywordSpotter(keywords, bars, transcriber.frame_s, edges)


def thresholds_of(phrases: Sequence[Phrase], thresholds: Mapping[str, float]) -> list[float]:
    """Of each phrase its own, else the one in ``thresholds``, else ``THRESHOLD``."""
    return [phrase.number or thresholds.get(phrase.text, THRESHOLD) for phrase in phrases]


def word_edges(tokens: TokenTable, frame_s: float) -> WordEdges | None:
    """How a table's tokens tell of words: characters by the space between, pieces by those that words begin with.

    None for tables that don't, such as phones, and for whole words, which need it not.
    """
    silence_frames = max(1, round(SILENCE_S / frame_s))
    if tokens.space is not None:
        return WordEdges((tokens.space,), before=True, silence_frames=silence_frames)
    if tokens.unit == "piece":
        starts = tuple(number for symbol, number in tokens.ids.items() if symbol.startswith(" "))
        return WordEdges(starts, before=False, silence_frames=silence_frames)
    return None


def keywords_of(phrases: Sequence[Phrase], tokens: TokenTable, lexicon: Lexicon) -> list[Keyword]:
    """How each is written in labels, and the longer words of the lexicon that contain it.

    Raises one DataError for all words that the model cannot write.
    """
    words = {word for phrase in phrases for word in phrase.text.split()}
    given = {phrase.text: (phrase.pronunciation,) for phrase in phrases if phrase.pronunciation}
    written = write_words(words, given, tokens, lexicon, KIND.name, guess)
    known = {labels for word in lexicon.entries for labels in lexicon.pronunciations(word, tokens)}
    return [_keyword(phrase.text, written, tokens, known) for phrase in phrases]


def _keyword(text: str, written: Lexicon, tokens: TokenTable, known: set[tuple[int, ...]]) -> Keyword:
    ways = tuple(dict.fromkeys(_join(way, tokens.space) for way in spellings(text, written, tokens)))
    longer = {labels for labels in known for way in ways if _contains(labels, way)}
    return Keyword(text, ways, tuple(sorted(longer - set(ways))))  # "one" with and without a breath is one word


def _join(words: Sequence[tuple[int, ...]], space: int | None) -> tuple[int, ...]:
    """With the space between words, if the table has one."""
    between = () if space is None else (space,)
    return words[0] + tuple(label for word in words[1:] for label in (*between, *word))


def _contains(longer: tuple[int, ...], labels: tuple[int, ...]) -> bool:
    """As a part, not as a whole."""
    size = len(labels)
    return len(longer) > size and any(longer[i : i + size] == labels for i in range(len(longer) - size + 1))
