"""From log probabilities to words with times: greedy search, or a beam search with a lexicon and a language model.

    state = decoder.start()
    state = decoder.step(log_probs, state)      # (T, V), as they come
    decoder.partial(state)                      # the words so far
    decoder.finish(state)                       # the words of the whole recording

A state is a value: ``step`` leaves the old one as it was. Both searches go frame by frame, so any chunking gives the
same result. NumPy only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recitative.asr.kind import Language
from recitative.asr.pronunciation import guess
from recitative.config import DecodeSettings
from recitative.decoding.beam import BeamSearch, BeamState
from recitative.decoding.hotwords import Grammar, HotWord, HotWords
from recitative.decoding.hypotheses import (
    BestPath,
    Calibrator,
    Hypothesis,
    TokenRun,
    WordEvidence,
    align_words,
    evidence_of,
)
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.errors import DataError, UsageError
from recitative.lm.arpa import LanguageModel
from recitative.stage import Array
from recitative.text.tokens import Lexicon, TokenTable, Word, words_of


def unknown_to(lm: LanguageModel, lexicon: Lexicon, where: str) -> list[str]:
    """The words of a lexicon that a language model does not know; the search scores them with ``unknown_score``.

    Raises DataError if that is all of them: the two do not belong together.
    """
    unknown = [word for word in lexicon.entries if not lm.knows(word)]
    if len(unknown) == len(lexicon):
        found = f"knows none of the {len(lexicon)} words of the lexicon, such as '{unknown[0]}'"
        raise DataError(where, found, "a model of the same words, in the same case", "make it from texts as they are")
    return unknown


@dataclass(frozen=True)
class TimedToken:
    token: str
    start_s: float  # start of its first frame, in seconds from the start of the stream
    end_s: float  # end of its last frame
    confidence: float  # the model's own probability, 0..1


@dataclass(frozen=True)
class Alternative:
    """One entry of an n-best list."""

    text: str
    tokens: str  # as the token table reads them
    score: float  # natural logarithm
    acoustic: float  # ln P(labels | audio), part of the score
    posterior: float  # its share of all hypotheses, 0..1


@dataclass(frozen=True)
class DecodingResult:
    """The words of one recording or segment.

    alternatives: n-best list, the best first; empty after greedy search
    evidence:     the features of each word's confidence, for calibration; empty after greedy search
    whole:        False if the audio ended within a word or a grammar's sentence, so that its end is missing
    stable:       in a partial result, how many of the first words no later audio can change
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
    """A search. It is stateless: the caller keeps the state of each stream."""

    def start(self) -> Any: ...

    def step(self, log_probs: Array, state: Any) -> Any:
        """The next frames (T, V)."""
        ...

    def num_frames(self, state: Any) -> int:
        """Frames decoded so far."""
        ...

    def partial(self, state: Any) -> DecodingResult:
        """The words so far; those after the first ``stable`` may still change."""
        ...

    def forget(self, state: Any) -> Any:
        """The state without the words of ``partial`` that can't change any more, so that memory stays bounded in an
        endless stream; the same state if all may still change."""
        ...

    def finish(self, state: Any) -> DecodingResult:
        """The recording ends here."""
        ...


@dataclass(frozen=True)
class TimedTable:
    """A token table and the length of a frame, which turn runs of labels into tokens with times."""

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
    """The likeliest token of every frame; words are spelled by these tokens, in a lexicon or not."""

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

    def partial(self, state: BestPath) -> DecodingResult:
        tokens, unit = self._timed.tokens(state.runs), self._timed.table.unit
        if unit == "phone":  # without a lexicon the result is phones
            words = [Word(t.token, t.start_s, t.end_s, t.confidence) for t in tokens]
        else:
            words = words_of(tokens)
        is_open = unit not in ("phone", "word") and words and not tokens[-1].token.isspace()
        return DecodingResult(tokens, tuple(words), stable=len(words) - bool(is_open))

    def forget(self, state: BestPath) -> BestPath:
        return state

    def finish(self, state: BestPath) -> DecodingResult:
        return self.partial(state)


@dataclass(frozen=True)
class BeamStream:
    """State of a stream in a beam search; the log probabilities are kept to align the words."""

    search: BeamState
    log_probs: tuple[Array, ...]


class LanguageSearch:
    """A beam search; words get their times from an alignment, and their confidences from the other hypotheses."""

    def __init__(
        self,
        search: BeamSearch,
        timed: TimedTable,
        *,
        count: int = 1,
        calibrator: Calibrator | None = None,
        offset: Array | None = None,
    ) -> None:
        """count:   length of the n-best list
        calibrator: from a word's evidence to its confidence, None = posterior
        offset:     added to the log probabilities for the search, (V,) float32
        """
        self._search = search
        self._offset = offset
        self._timed = timed
        self._count = count
        self._calibrator = calibrator

    def start(self) -> BeamStream:
        return BeamStream(self._search.start(), ())

    def step(self, log_probs: Array, state: BeamStream) -> BeamStream:
        scaled = log_probs if self._offset is None else log_probs + self._offset
        return BeamStream(self._search.step(scaled, state.search), (*state.log_probs, log_probs))

    def num_frames(self, state: BeamStream) -> int:
        return state.search.num_frames

    def partial(self, state: BeamStream) -> DecodingResult:
        """Times are those at which words came up in the search, a frame or two early; ``finish`` gives better ones. A
        confidence is the share of the beam that has these words up to this one, 1 for stable words."""
        best = self._search.best(state.search)
        frame_s = self._timed.frame_s
        words = (
            Word(w.word, round(w.first_frame * frame_s, 3), round((w.last_frame + 1) * frame_s, 3), round(share, 4))
            for w, share in zip(best.words, best.shares, strict=True)
        )
        return DecodingResult((), tuple(words), stable=best.stable)

    def forget(self, state: BeamStream) -> BeamStream:
        return state

    def finish(self, state: BeamStream) -> DecodingResult:
        hypotheses = self._search.finish(state.search, count=self._search.beam)
        best, alternatives = hypotheses[0], self._alternatives(hypotheses)
        if not best.labels:
            return DecodingResult((), (), alternatives, whole=best.whole)
        runs = align_words(np.concatenate(state.log_probs), [[best.labels]]).runs  # one for each label
        evidence = evidence_of(hypotheses, runs)
        if self._calibrator and evidence:
            confidences = self._calibrator.apply(np.array([e.features() for e in evidence])).tolist()
        else:
            confidences = [e.posterior for e in evidence]
        words = tuple(
            self._word(word.word, runs[word.begin : word.end], confidence)
            for word, confidence in zip(best.words, confidences, strict=True)
        )
        return DecodingResult(self._timed.tokens(runs), words, alternatives, evidence, best.whole)

    def _word(self, word: str, runs: Sequence[TokenRun], confidence: float) -> Word:
        letters = [run for run in runs if self._timed.table.symbols[run.label] != " "]  # a piece may be a space alone
        begin_s, end_s = letters[0].begin * self._timed.frame_s, letters[-1].end * self._timed.frame_s
        return Word(word, round(begin_s, 3), round(end_s, 3), round(confidence, 4))

    def _alternatives(self, hypotheses: Sequence[Hypothesis]) -> tuple[Alternative, ...]:
        decode = self._timed.table.decode
        return tuple(
            Alternative(h.text, decode(h.labels), round(h.score, 4), round(h.acoustic, 4), round(h.posterior, 4))
            for h in hypotheses[: self._count]
        )


@dataclass(frozen=True)
class DecodingOptions:
    """Options of decoding that take precedence over the model's settings.

    lm:        a language model instead of the model's own; ``no_lm`` = none at all
    hot_words: phrases to favor; they are added to the lexicon if there is one
    grammar:   recognize its sentences only
    lexicon:   recognize its words only
    count:     length of the n-best list
    beam:      beam width; None = the setting
    greedy:    greedy search without lexicon and language model; a model of phones then writes phones
    """

    lm: LanguageModel | None = None
    no_lm: bool = False
    hot_words: tuple[HotWord, ...] = ()
    grammar: Grammar | None = None
    lexicon: Lexicon | None = None
    count: int = 1
    beam: int | None = None
    greedy: bool = False


NO_OPTIONS = DecodingOptions()


def new_decoder(
    settings: DecodeSettings,
    timed: TimedTable,
    language: Language,
    options: DecodingOptions = NO_OPTIONS,
    tree: LexiconTree | None = None,
) -> Decoder:
    """A greedy search if that is the setting and no option or language needs a beam; else a beam search.

    tree: of the language's lexicon, if there is one already.
    Raises DataError for hot words or a grammar that the model cannot write, and UsageError for hot words of a model of
    phones without a lexicon.
    """
    lexicon = options.lexicon or language.lexicon
    lm: LanguageModel | None = None if options.no_lm else options.lm or language.lm
    needs_more = lexicon or lm or options.hot_words or options.grammar or options.count > 1 or options.beam
    if options.greedy or (settings.kind == "greedy" and not needs_more):
        return GreedySearch(timed)
    if options.hot_words and timed.table.unit == "phone" and not lexicon:
        raise UsageError("hot words: this model has phones and no lexicon; give a lexicon in which they can stand")
    hot_words = HotWords(options.hot_words, timed.table, lexicon, guess) if options.hot_words else None
    if hot_words and lexicon:
        lexicon = lexicon.with_entries(hot_words.lexicon)
    lm_weight = settings.lm_weight
    # The bonus was chosen to go with the language model, which likes few words.
    word_bonus = 0.0 if options.no_lm or options.grammar else settings.word_bonus
    if options.grammar:
        lexicon = grammar_lexicon(options.grammar, timed.table, lexicon)
        lm, lm_weight = options.grammar, 1.0
    search = BeamSearch(
        timed.table,
        lexicon,
        lm=lm,
        hot_words=hot_words,
        lm_weight=lm_weight,
        word_bonus=word_bonus,
        unknown_score=settings.unknown_score,
        beam=options.beam or settings.beam,
        token_beam=settings.token_beam,
        score_beam=settings.score_beam,
        tree=tree if lexicon is language.lexicon else None,
    )
    # Likelihoods up to a constant: what is frequent in training is not favored twice, by the network and by the
    # language model (Miao, Gowayyed & Metze 2015).
    offset = None
    if settings.prior_weight and language.priors is not None:
        offset = np.float32(-settings.prior_weight) * np.array(language.priors, np.float32)
    return LanguageSearch(search, timed, count=options.count, calibrator=language.calibrator, offset=offset)


def grammar_lexicon(grammar: Grammar, tokens: TokenTable, known: Lexicon | None) -> Lexicon:
    """The spelling of a grammar's words. Raises one DataError for all words that the model cannot write."""
    if known is None:
        return Lexicon.of_spelling(grammar.words, tokens)
    if unknown := known.unknown(grammar.words):
        names = ", ".join(map(repr, sorted(unknown)))
        remedy = "choose others, or give a lexicon that has them"
        raise DataError("grammar", f"{names} not in the model's lexicon", "its words", remedy)
    return known.only(grammar.words)
