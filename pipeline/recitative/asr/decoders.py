"""From log probabilities to words with times: greedy, or a beam search with language. NumPy only.

    state = decoder.start()
    state = decoder.step(log_probs, state)      # (T, V), as they come
    decoder.partial(state)                      # what has been said so far
    decoder.finish(state)                       # what was said

A state is a value: steps leave the old one as it was. Both decoders go frame by frame, so any cutting gives the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recitative.asr.language import Language
from recitative.asr.pronouncer import guess
from recitative.config import DecodeSettings
from recitative.decoding.alignment import align_words
from recitative.decoding.array_search import ArraySearch
from recitative.decoding.beam import BeamSearch, Hypothesis
from recitative.decoding.confidence import WordEvidence, evidence_of
from recitative.decoding.greedy import BestPath, TokenRun
from recitative.decoding.hotwords import HotWord, HotWords
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.decoding.prefix import SearchSpace
from recitative.errors import DataError, UsageError
from recitative.lm.grammar import Grammar
from recitative.lm.query import LanguageModel
from recitative.score.calibration import Calibrator
from recitative.stage import Array
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable
from recitative.text.words import Word, words_of


@dataclass(frozen=True)
class TimedToken:
    token: str
    start_s: float  # where its first frame begins, in seconds from the start of the stream
    end_s: float  # where its last frame ends
    confidence: float  # the model's own probability for it, 0..1


@dataclass(frozen=True)
class Alternative:
    """Something that may have been said: its score in natural logarithms, and its part of all that was thought of."""

    text: str
    tokens: str  # as the token table reads them
    score: float
    acoustic: float  # ln P(labels | audio), part of the score
    posterior: float  # 0..1


@dataclass(frozen=True)
class Spoken:
    """What was said in one recording or segment.

    alternatives: the best first; of a greedy decoder none
    evidence:     what each word's confidence was made of, for calibration; of a greedy decoder none
    whole:        False if the audio ended within a word or a grammar's sentence, so that its end is missing
    stable:      of a stream that goes on, how many of the first words no later audio can change
    """

    tokens: tuple[TimedToken, ...]
    words: tuple[Word, ...]
    alternatives: tuple[Alternative, ...] = ()
    evidence: tuple[WordEvidence, ...] = ()
    whole: bool = True
    stable: int = 0

    @property
    def text(self) -> str:
        """With single spaces between words."""
        return " ".join(word.word for word in self.words)


class Decoder(Protocol):
    """Of one stream; states are made by ``start`` and ``step`` and are the caller's to keep."""

    def start(self) -> Any: ...

    def step(self, log_probs: Array, state: Any) -> Any:
        """The next frames (T, V)."""
        ...

    def num_frames(self, state: Any) -> int:
        """Frames heard."""
        ...

    def partial(self, state: Any) -> Spoken:
        """So far; words behind the first ``stable`` may still change."""
        ...

    def forget(self, state: Any) -> Any:
        """Without the words of ``partial`` that can't change any more, so that a stream without end needs no more
        memory than a short one; as it was where all may still change."""
        ...

    def finish(self, state: Any) -> Spoken:
        """The recording ends here."""
        ...


@dataclass(frozen=True)
class TimedTable:
    """A token table and the length of a frame: what turns runs of labels into tokens with times."""

    table: TokenTable
    frame_s: float

    def tokens(self, runs: Sequence[TokenRun]) -> tuple[TimedToken, ...]:
        return tuple(
            TimedToken(
                self.table.symbols[run.label],
                round(run.begin * self.frame_s, 3),
                round(run.end * self.frame_s, 3),
                round(run.confidence, 4),
            )
            for run in runs
        )


class GreedySearch:
    """The likeliest token of every frame; the words are what its tokens spell, known or not."""

    def __init__(self, timed: TimedTable) -> None:
        self._timed = timed

    def start(self) -> BestPath:
        return BestPath()

    def step(self, log_probs: Array, state: BestPath) -> BestPath:
        longer = copy.copy(state)
        longer.runs = list(state.runs)
        longer.extend(log_probs)
        return longer

    def num_frames(self, state: BestPath) -> int:
        return state.num_frames

    def partial(self, state: BestPath) -> Spoken:
        tokens, unit = self._timed.tokens(state.runs), self._timed.table.unit
        if unit == "phone":  # no lexicon: phones are all it can say
            words = [Word(t.token, t.start_s, t.end_s, t.confidence) for t in tokens]
        else:
            words = words_of(tokens)
        is_open = unit not in ("phone", "word") and words and not tokens[-1].token.isspace()
        return Spoken(tokens, tuple(words), stable=len(words) - bool(is_open))

    def forget(self, state: BestPath) -> BestPath:
        return state

    def finish(self, state: BestPath) -> Spoken:
        return self.partial(state)


class Search(Protocol):
    """A beam search, over objects or arrays."""

    beam: int

    def start(self) -> Any: ...

    def step(self, log_probs: Array, state: Any) -> Any: ...

    def best(self, state: Any) -> Hypothesis: ...

    def finish(self, state: Any, count: int = 1) -> list[Hypothesis]: ...


@dataclass(frozen=True)
class BeamStream:
    """A stream in a beam search; the log probabilities are kept for the words' times."""

    state: Any  # of the search
    heard: tuple[Array, ...]


class LanguageSearch:
    """A beam search whose words get times from an alignment, and confidences from the other hypotheses."""

    def __init__(
        self, search: Search, timed: TimedTable, *, count: int = 1, calibrator: Calibrator | None = None
    ) -> None:
        """count: alternatives to return; calibrator: from a word's evidence to its confidence, None = its posterior."""
        self._search = search
        self._timed = timed
        self._count = count
        self._calibrator = calibrator

    def start(self) -> BeamStream:
        return BeamStream(self._search.start(), ())

    def step(self, log_probs: Array, state: BeamStream) -> BeamStream:
        return BeamStream(self._search.step(log_probs, state.state), (*state.heard, log_probs))

    def num_frames(self, state: BeamStream) -> int:
        return int(state.state.num_frames)

    def partial(self, state: BeamStream) -> Spoken:
        """Times are those at which words came up in the search, a frame or two early; ``finish`` gives better ones. A
        confidence is the share of the beam that has these words up to this one, 1 for stable words."""
        best = self._search.best(state.state)
        frame_s = self._timed.frame_s
        words = (
            Word(w.word, round(w.first_frame * frame_s, 3), round((w.last_frame + 1) * frame_s, 3), round(share, 4))
            for w, share in zip(best.words, best.shares, strict=True)
        )
        return Spoken((), tuple(words), stable=best.stable)

    def forget(self, state: BeamStream) -> BeamStream:
        return state

    def finish(self, state: BeamStream) -> Spoken:
        hypotheses = self._search.finish(state.state, count=self._search.beam)
        best = hypotheses[0]
        if not best.labels:
            return Spoken((), (), self._alternatives(hypotheses), whole=best.whole)
        log_probs = np.concatenate(state.heard)
        runs = align_words(log_probs, [[best.labels]]).runs  # when each label is said
        evidence = evidence_of(hypotheses, runs)
        if self._calibrator and evidence:
            confidences = self._calibrator.apply(np.array([e.features() for e in evidence])).tolist()
        else:
            confidences = [e.posterior for e in evidence]
        words = tuple(
            self._word(word.word, runs[word.begin : word.end], confidence)
            for word, confidence in zip(best.words, confidences, strict=True)
        )
        tokens = self._timed.tokens(runs)
        return Spoken(tokens, words, self._alternatives(hypotheses), evidence, best.whole)

    def _word(self, word: str, runs: Sequence[TokenRun], confidence: float) -> Word:
        letters = [run for run in runs if self._timed.table.symbols[run.label] != " "]  # a piece may be a space alone
        begin_s, end_s = letters[0].begin * self._timed.frame_s, letters[-1].end * self._timed.frame_s
        return Word(word, round(begin_s, 3), round(end_s, 3), round(confidence, 4))

    def _alternatives(self, hypotheses: Sequence[Hypothesis]) -> tuple[Alternative, ...]:
        return tuple(self._alternative(h) for h in hypotheses[: self._count])

    def _alternative(self, h: Hypothesis) -> Alternative:
        tokens = self._timed.table.decode(h.labels)
        return Alternative(h.text, tokens, round(h.score, 4), round(h.acoustic, 4), round(h.posterior, 4))


@dataclass(frozen=True)
class Wishes:
    """What a user asks for beyond what the model's settings say.

    lm:        another language model than the model's own; ``no_lm`` = none at all
    hot_words: phrases to raise; of a model with a lexicon they join it
    grammar:   write its sentences only
    lexicon:   write its words only
    count:     alternatives
    beam:      hypotheses kept; None = the setting
    greedy:    the likeliest token of every frame, whatever the model's language; phones are written as they are
    """

    lm: LanguageModel | None = None
    no_lm: bool = False
    hot_words: tuple[HotWord, ...] = ()
    grammar: Grammar | None = None
    lexicon: Lexicon | None = None
    count: int = 1
    beam: int | None = None
    greedy: bool = False


def new_decoder(
    settings: DecodeSettings,
    timed: TimedTable,
    language: Language,
    wishes: Wishes | None = None,
    tree: LexiconTree | None = None,
) -> Decoder:
    """Greedy if that is the setting and nothing needs more. tree: of the language's lexicon, if there is one already.

    Raises DataError for hot words or a grammar that the model cannot write, UsageError where only a lexicon could tell.
    """
    wishes = wishes or Wishes()
    lexicon = wishes.lexicon or language.lexicon
    lm: LanguageModel | None = None if wishes.no_lm else wishes.lm or language.lm
    needs_more = lexicon or lm or wishes.hot_words or wishes.grammar or wishes.count > 1 or wishes.beam
    if wishes.greedy or (settings.kind == "greedy" and not needs_more):
        return GreedySearch(timed)
    if wishes.hot_words and timed.table.unit == "phone" and not lexicon:
        raise UsageError("hot words: this model has phones and no lexicon; give a lexicon in which they can stand")
    hot_words = HotWords(wishes.hot_words, timed.table, lexicon, guess) if wishes.hot_words else None
    if hot_words and lexicon:
        lexicon = lexicon.with_entries(hot_words.lexicon)
    lm_weight = settings.lm_weight
    # The bonus was chosen to go with the language model, which likes few words.
    word_bonus = 0.0 if wishes.no_lm or wishes.grammar else settings.word_bonus
    if wishes.grammar:
        lexicon = grammar_lexicon(wishes.grammar, timed.table, lexicon)
        lm, lm_weight = wishes.grammar, 1.0
    scores: dict[str, Any] = {
        "lm": lm,
        "hot_words": hot_words,
        "lm_weight": lm_weight,
        "word_bonus": word_bonus,
        "unknown_score": settings.unknown_score,
    }
    width: dict[str, Any] = {
        "beam": wishes.beam or settings.beam,
        "token_beam": settings.token_beam,
        "score_beam": settings.score_beam,
    }
    search: Search = (
        ArraySearch(timed.table, lexicon, tree=tree if lexicon is language.lexicon else None, **scores, **width)
        if lexicon
        else BeamSearch(SearchSpace(timed.table, **scores), **width)
    )
    return LanguageSearch(search, timed, count=wishes.count, calibrator=language.calibrator)


def grammar_lexicon(grammar: Grammar, tokens: TokenTable, known: Lexicon | None) -> Lexicon:
    """How a grammar's words are written. Raises DataError that names all that the model cannot write."""
    if known is None:
        return Lexicon.of_spelling(grammar.words, tokens)
    if unknown := known.unknown(grammar.words):
        names = ", ".join(map(repr, sorted(unknown)))
        remedy = "choose others, or give a lexicon that has them"
        raise DataError("grammar", f"{names} not in the model's lexicon", "its words", remedy)
    return known.only(grammar.words)
