"""Rescoring n-best lists with an attention decoder and a recurrent language model.

    score' = score + attention_weight * ln P_attention(tokens | audio) + lm_weight * ln P_lm(words)

over the alternatives of each utterance that ``decode --nbest`` wrote (Mikolov et al. 2010 for language models, Kim,
Hori & Watanabe 2017 for attention). Both weights are tuned on a dev set by trying all pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from recitative.asr.attention_decoder import AttentionDecoder
from recitative.asr.network import RecognizerModel
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.nn.ctc_loss import padded_labels
from recitative.reading import checked, read_json_lines
from recitative.score.wer import ErrorCounts, score
from recitative.stage import Array, Padded

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
    recognizer: RecognizerModel | None,
    lm: TextScorer | None,
    advance: Advance = lambda done, total: None,
) -> dict[str, list[Candidate]]:
    """What the attention decoder and the language model say; either may be missing.

    Raises UsageError for a recognizer without a decoder, DataError for an utterance that the directory lacks.
    """
    utterances = {u.utt_id: u for u in DataDirectory.read(data_dir).utterances}
    missing = sorted(nbest.keys() - utterances.keys())
    if missing:
        raise DataError(
            str(data_dir), f"has no utterance '{missing[0]}'", "those of the n-best file", "correct the path"
        )
    if recognizer:
        require_decoder(recognizer)
        extractor = FeatureExtractor(recognizer.settings.features)
    scored: dict[str, list[Candidate]] = {}
    for utt_id, candidates in nbest.items():
        attention = [0.0] * len(candidates)
        if recognizer:
            encoded = encode_utterance(recognizer, extractor.compute(read_utterance(utterances[utt_id])))
            labels = [recognizer.tokens.encode(c.tokens) for c in candidates]
            attention = attention_scores(recognizer, encoded, labels).tolist()
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


# Scores of the attention decoder for given texts.

MOST_AT_ONCE = 64  # hypotheses: bounds the memory


@dataclass(frozen=True)
class EncodedUtterance:
    """One utterance behind the encoder: ``encoded`` (1, T', H) for the decoder, ``log_probs`` (T', V) of CTC."""

    encoded: Padded[Tensor]
    log_probs: Array


def encode_utterance(recognizer: RecognizerModel, features: Array) -> EncodedUtterance:
    """Features (T, C) float32 -> what CTC's search and the decoder both start from, computed once."""
    device = next(recognizer.network.parameters()).device
    x = Padded(torch.from_numpy(features)[None].to(device), torch.tensor([len(features)], device=device))
    with torch.inference_mode():
        encoded = recognizer.encode(x)
        log_probs = recognizer.log_probs(encoded)
    length = int(log_probs.lengths[0])
    return EncodedUtterance(encoded, log_probs.data[0, :length].float().cpu().numpy())


def attention_scores(
    recognizer: RecognizerModel, utterance: EncodedUtterance, hypotheses: Sequence[Sequence[int]]
) -> Array:
    """ln P(labels, end | utterance) in nats, (N,) float64, of N label sequences; an empty one may be among them.

    Raises UsageError for a recognizer without a decoder.
    """
    decoder = require_decoder(recognizer)
    scores = np.zeros(len(hypotheses))
    # Alike in length together: little is computed for padding.
    order = np.argsort([len(labels) for labels in hypotheses], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), MOST_AT_ONCE):
            chosen = order[start : start + MOST_AT_ONCE]
            labels = padded_labels([hypotheses[i] for i in chosen])
            device = utterance.encoded.data.device
            labels = Padded(labels.data.to(device), labels.lengths.to(device))
            scores[chosen] = decoder.score(utterance.encoded, labels).double().cpu().numpy()
    return scores


def require_decoder(recognizer: RecognizerModel) -> AttentionDecoder:
    """Raises UsageError without one."""
    if recognizer.decoder is None:
        raise UsageError(
            "this model has no attention decoder to rescore with; train one with model.attention.weight above 0, "
            "or decode without rescoring"
        )
    return recognizer.decoder
