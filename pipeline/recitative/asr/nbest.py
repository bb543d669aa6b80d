"""Rescoring the n best of a beam search with what could not take part in it: attention, a recurrent language model.

    score' = score + attention_weight * ln P_attention(tokens | audio) + lm_weight * ln P_lm(words)

over the alternatives of each utterance, as ``decode --nbest`` wrote them (Mikolov et al. 2010 for language models,
Kim, Hori & Watanabe 2017 for attention). Both weights are found on a dev set by trying all pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from recitative.asr.network import Recogniser
from recitative.asr.rescoring import attention_scores, encode_utterance, require_decoder
from recitative.data.directory import DataDirectory
from recitative.errors import DataError
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.reading import checked, read_json_lines
from recitative.score.wer import ErrorCounts, score

Advance = Callable[[int, int], None]

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)


@runtime_checkable
class TextScorer(Protocol):
    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """ln P of each sentence, its end included."""
        ...


@dataclass(frozen=True)
class Candidate:
    """One alternative with what each model says of it, in natural logarithms; 0 from a model that is not there."""

    text: str
    tokens: str
    score: float
    attention: float = 0.0
    language: float = 0.0


@dataclass(frozen=True)
class Weights:
    attention: float = 0.0
    language: float = 0.0

    def best(self, candidates: Sequence[Candidate]) -> Candidate:
        """The first of the best."""
        return max(candidates, key=lambda c: c.score + self.attention * c.attention + self.language * c.language)


@dataclass(frozen=True)
class _Row:
    text: str
    tokens: str
    score: float


@dataclass(frozen=True)
class _Line:
    utt_id: str
    nbest: list[_Row]


def read_nbest(path: Path) -> dict[str, list[Candidate]]:
    """What ``decode --nbest`` wrote. Raises DataError that names the line for anything else."""
    found: dict[str, list[Candidate]] = {}
    remedy = "make it with 'recitative decode --nbest 20'"
    for where, value in read_json_lines(path, "an n-best file", remedy):
        entry = checked(_Line, value, where, "a line of 'recitative decode --nbest'", remedy)
        found[entry.utt_id] = [Candidate(row.text, row.tokens, row.score) for row in entry.nbest]
    return found


def add_scores(
    nbest: Mapping[str, Sequence[Candidate]],
    data_dir: Path,
    recogniser: Recogniser | None,
    lm: TextScorer | None,
    advance: Advance = lambda done, total: None,
) -> dict[str, list[Candidate]]:
    """What the attention decoder and the language model say; either may be missing.

    Raises UsageError for a recogniser without a decoder, DataError for an utterance that the directory lacks.
    """
    utterances = {u.utt_id: u for u in DataDirectory.read(data_dir).utterances}
    missing = sorted(nbest.keys() - utterances.keys())
    if missing:
        raise DataError(
            str(data_dir), f"has no utterance '{missing[0]}'", "those of the n-best file", "correct the path"
        )
    if recogniser:
        require_decoder(recogniser)
        extractor = FeatureExtractor(recogniser.settings.features)
    scored: dict[str, list[Candidate]] = {}
    for utt_id, candidates in nbest.items():
        attention = [0.0] * len(candidates)
        if recogniser:
            encoded = encode_utterance(recogniser, extractor.compute(read_utterance(utterances[utt_id])))
            labels = [recogniser.tokens.encode(c.tokens) for c in candidates]
            attention = attention_scores(recogniser, encoded, labels).tolist()
        language = lm.score_texts([c.text for c in candidates]) if lm else [0.0] * len(candidates)
        scored[utt_id] = [
            Candidate(c.text, c.tokens, c.score, a, b) for c, a, b in zip(candidates, attention, language, strict=True)
        ]
        advance(len(scored), len(nbest))
    return scored


def tune_weights(
    nbest: Mapping[str, Sequence[Candidate]], refs: Mapping[str, str], *, attention: bool, lm: bool
) -> tuple[Weights, dict[Weights, ErrorCounts]]:
    """The pair with the fewest errors, the smaller of equals, and the errors of all."""
    pairs = itertools.product(WEIGHTS if attention else (0.0,), WEIGHTS if lm else (0.0,))
    trials = {weights: _errors(nbest, refs, weights) for weights in itertools.starmap(Weights, pairs)}
    return min(trials, key=lambda w: (trials[w].errors, w.attention + w.language)), trials


def best_texts(nbest: Mapping[str, Sequence[Candidate]], weights: Weights) -> dict[str, str]:
    return {utt_id: weights.best(candidates).text if candidates else "" for utt_id, candidates in nbest.items()}


def oracle_errors(nbest: Mapping[str, Sequence[Candidate]], refs: Mapping[str, str]) -> ErrorCounts:
    """Of the alternative nearest to each reference: no rescoring can do better."""
    nearest: dict[str, str] = {}
    for utt_id, candidates in nbest.items():
        texts = [c.text for c in candidates] or [""]
        nearest[utt_id] = min(texts, key=lambda text: score({"": refs[utt_id]}, {"": text}).total.errors)
    return score(refs, nearest).total


def _errors(nbest: Mapping[str, Sequence[Candidate]], refs: Mapping[str, str], weights: Weights) -> ErrorCounts:
    return score(refs, best_texts(nbest, weights)).total


def to_text(texts: Mapping[str, str]) -> str:
    """A Kaldi text table."""
    return "".join(f"{utt_id} {text}".rstrip() + "\n" for utt_id, text in sorted(texts.items()))


def refs_of(data_dir: Path) -> dict[str, str]:
    return {u.utt_id: u.text or "" for u in DataDirectory.read(data_dir).utterances}
