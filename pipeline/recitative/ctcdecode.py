"""The interface of the package ``ctcdecode`` over the beam search of ``decoding.beam``.

    from recitative.ctcdecode import CTCBeamDecoder    # in place of: from ctcdecode import CTCBeamDecoder

Every label is a word of a lexicon, so that hypotheses are label sequences. With a language model of words, the lexicon
has its words, spelled in single-character labels with the label ' ' between them. Arguments, shapes and types are those
of ctcdecode's last version; ``decode`` says where results differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recitative.decoding.beam import BeamSearch, BeamState
from recitative.decoding.hypotheses import Hypothesis
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.errors import UsageError, counted
from recitative.lm.arpa import MARKS
from recitative.lm.ngram import NgramModel, read_lm
from recitative.stage import Array
from recitative.text.tokens import BLANK, Lexicon, TokenTable

UNKNOWN_SCORE = -1000.0  # ln P of a label that a language model of characters does not know
SCORE_BEAM = 300.0  # nats below the best at which hypotheses are dropped: none that matters, and no empty one is kept
_FIRST_SYMBOL = 0xF0000  # private code points stand for the labels, whatever their names
_TOLERANCE = 1e-3  # of probabilities above 1
_LARGEST = 1 << 26  # bytes of the moves of an alignment

Result = tuple[Tensor, Tensor, Tensor, Tensor]


class _OpenEnded(NgramModel):
    """An n-gram model whose sentences end at no cost: ctcdecode does not score their ends."""

    def finish(self, state: object) -> float:
        return 0.0

    def finish_all(self, states: Array) -> Array:
        return np.zeros(len(states))


class _Decoder:
    """The common part of both decoders: labels, language model and search."""

    def __init__(
        self,
        labels: Sequence[str],
        model_path: str | None = None,
        alpha: float = 0,
        beta: float = 0,
        cutoff_top_n: int = 40,
        cutoff_prob: float = 1.0,
        beam_width: int = 100,
        num_processes: int = 4,
        blank_id: int = 0,
        log_probs_input: bool = False,
    ) -> None:
        """labels: the names of the network's outputs, in order; ``blank_id`` is the number of the blank
        model_path: an n-gram model (ARPA, plain or gzipped, or packed). If its words are single characters, it scores
        every label; else every word, and only its words are written
        alpha, beta: weight of the language model; bonus per word, or per label with a model of characters
        cutoff_top_n, cutoff_prob: of each frame only the most probable labels are tried, the fewest that have this
        probability together, and at most so many
        num_processes: has no effect
        log_probs_input: ``decode`` is given ln P, not P

        Raises UsageError for impossible arguments, DataError for a damaged language model.
        """
        self._labels = list(labels)
        if not 0 <= blank_id < len(self._labels):
            raise UsageError(f"blank_id {blank_id}: there are {len(self._labels)} labels, numbered from 0")
        if beam_width < 1 or cutoff_top_n < 1 or not 0 < cutoff_prob <= 1:
            raise UsageError("beam_width and cutoff_top_n are at least 1, and cutoff_prob is above 0 and at most 1")
        self._beam_width, self._top_n, self._cutoff_prob = beam_width, cutoff_top_n, cutoff_prob
        self._is_log = log_probs_input
        # As the search has them: the blank is token 0.
        self._order = np.array([blank_id, *(n for n in range(len(self._labels)) if n != blank_id)])
        self._lm = _read_open_ended(model_path) if model_path else None
        self._lexicon, self._tokens = self._spelling()
        self._tree = LexiconTree(self._lexicon, self._tokens)
        self.reset_params(alpha, beta)

    def reset_params(self, alpha: float, beta: float) -> None:
        """Other weights of the language model. Without one they have no effect."""
        self._search = BeamSearch(
            self._tokens,
            self._lexicon,
            lm=self._lm,
            lm_weight=alpha if self._lm else 0.0,
            word_bonus=beta if self._lm else 0.0,
            unknown_score=UNKNOWN_SCORE,
            beam=self._beam_width,
            token_beam=np.inf,
            score_beam=SCORE_BEAM,
            tree=self._tree,
        )

    def character_based(self) -> bool | None:
        """True if the words of the language model are single characters; None without a language model."""
        return None if self._lm is None else all(len(word) <= 1 for word in self._lm.ids)

    def max_order(self) -> int | None:
        """Words in the longest n-gram of the language model."""
        return None if self._lm is None else self._lm.order

    def dict_size(self) -> int | None:
        """The number of words that can be written: those of the language model that the labels can spell."""
        if self._lm is None:
            return None
        return 0 if self.character_based() else len(self._lexicon)

    def _spelling(self) -> tuple[Lexicon, TokenTable]:
        names = [self._labels[number] for number in self._order[1:].tolist()]
        symbols = [chr(_FIRST_SYMBOL + number) for number in range(len(names))]
        if self._lm is None:
            lexicon = Lexicon({symbol: ((symbol,),) for symbol in symbols})
        elif self.character_based():
            ways: dict[str, tuple[tuple[str, ...], ...]] = {}
            for name, symbol in zip(names, symbols, strict=True):
                ways[name] = (*ways.get(name, ()), (symbol,))
            lexicon = Lexicon(ways)
        else:
            if " " not in names:
                raise UsageError("a language model of words needs the label ' ' between words")
            symbols[names.index(" ")] = " "
            known = dict(zip(names, symbols, strict=True))
            words = [word for word in self._lm.ids if word not in MARKS and known.keys() >= set(word)]
            if not words:
                raise UsageError("no word of the language model can be spelled in these labels")
            lexicon = Lexicon({word: (tuple(known[sign] for sign in word),) for word in words})
        return lexicon, TokenTable((BLANK, *symbols))

    def _log_probs(self, probs: Tensor, seq_lens: Tensor | None) -> list[Array]:
        """For each row (T, V) float64, the blank first, of its own length."""
        if probs.ndim != 3 or probs.shape[2] != len(self._labels):
            allowed = f"(batch, frames, {len(self._labels)} labels)"
            raise UsageError(f"probs have the shape {tuple(probs.shape)}; {allowed}")
        values = probs.detach().cpu().double().numpy()[:, :, self._order]
        highest = 0.0 if self._is_log else 1.0
        if np.isnan(values).any() or (values > highest + _TOLERANCE).any():
            kind = "log_softmax" if self._is_log else "softmax"
            raise UsageError(f"probs are NaN or above {highest:g}; apply torch.nn.functional.{kind} to them")
        if not self._is_log and (values < 0).any():
            raise UsageError("probs are negative; give probabilities, or log_probs_input=True for their logarithms")
        with np.errstate(divide="ignore"):
            log_probs = values if self._is_log else np.log(values)
        lengths = [values.shape[1]] * len(values) if seq_lens is None else seq_lens.tolist()
        if len(lengths) != len(values):
            raise UsageError(f"{len(lengths)} seq_lens for {counted(len(values), 'row')}")
        return [row[: max(0, int(length))] for row, length in zip(log_probs, lengths, strict=True)]

    def _pruned(self, log_probs: Array) -> Array:
        """Log probabilities (T, V), minus infinity for the labels that are not tried."""
        if self._top_n >= log_probs.shape[1] and self._cutoff_prob >= 1:
            return log_probs
        order = np.argsort(-log_probs, axis=1, kind="stable")
        probs = np.exp(np.take_along_axis(log_probs, order, 1))
        before = np.cumsum(probs, axis=1) - probs
        tried = (before < self._cutoff_prob) | (self._cutoff_prob >= 1)
        tried[:, self._top_n :] = False
        tried[:, 0] = True
        pruned = np.full_like(log_probs, -np.inf)
        np.put_along_axis(pruned, order, np.where(tried, np.take_along_axis(log_probs, order, 1), -np.inf), 1)
        return pruned

    def _finish(self, state: BeamState) -> list[Hypothesis]:
        """The best hypotheses, the best first; none that begins with the space between words."""
        found = self._search.finish(state, self._beam_width, join=False)
        return [one for one in found if not one.labels or one.labels[0] != self._tokens.space]

    def _result(self, rows: Sequence[tuple[Array, list[Hypothesis]]], beams: int, frames: int) -> Result:
        """rows: log probabilities (T, V) and hypotheses, the best first."""
        labels, timesteps = (torch.zeros(len(rows), beams, frames, dtype=torch.int32) for _ in range(2))
        scores = torch.full((len(rows), self._beam_width), torch.inf)
        lengths = torch.zeros(len(rows), self._beam_width, dtype=torch.int32)
        for row, (log_probs, hypotheses) in enumerate(rows):
            peaks = peak_frames(log_probs, [hypothesis.labels for hypothesis in hypotheses])
            for beam, (hypothesis, places) in enumerate(zip(hypotheses, peaks, strict=True)):
                found = len(hypothesis.labels)
                labels[row, beam, :found] = torch.from_numpy(self._order[list(hypothesis.labels)])
                timesteps[row, beam, :found] = torch.tensor(places)
                scores[row, beam] = 0.0 - hypothesis.acoustic  # never -0
                lengths[row, beam] = found
        return labels, scores, timesteps, lengths


class CTCBeamDecoder(_Decoder):
    """Decodes whole utterances; the arguments are those of ``_Decoder``."""

    def decode(self, probs: Tensor, seq_lens: Tensor | None = None) -> Result:
        """P (or ln P) (N, T, V) and lengths (N,), at most T -> results, scores, timesteps, lengths, on the CPU.

        results:   (N, B, T) int32 the labels of the B best hypotheses, the best first; zeros behind their ends
        scores:    (N, B) float32 -ln P(labels | audio), without language model; infinite where there are fewer than B
        timesteps: (N, B, T) int32 the frame in which a label is the most probable, on the hypothesis's best path
        lengths:   (N, B) int32 labels

        Hypotheses are ranked by ln P + alpha * ln P(words) + beta * words, the last word included: ctcdecode leaves it
        out, and may end within a word. Raises UsageError for tensors of another shape, and for values that are not
        probabilities.
        """
        rows = []
        for log_probs in self._log_probs(probs, seq_lens):
            tried = self._pruned(log_probs)
            state = self._search.step(tried, self._search.start())
            rows.append((tried, self._finish(state)))
        return self._result(rows, self._beam_width, probs.shape[1])


class OnlineCTCBeamDecoder(_Decoder):
    """Decodes utterances in pieces, each with a ``DecoderState``."""

    def decode(
        self, probs: Tensor, states: Sequence[DecoderState], is_eos_s: Sequence[bool], seq_lens: Tensor | None = None
    ) -> Result:
        """As ``CTCBeamDecoder.decode``, of the next frames of each state; frames count from its beginning.

        Of rows whose ``is_eos_s`` is true, the results of all their frames; no hypotheses of the others. The results
        are as wide as the longest hypothesis.
        """
        pieces = self._log_probs(probs, seq_lens)
        if len(states) != len(pieces) or len(is_eos_s) < len(pieces):
            raise UsageError(
                f"{counted(len(states), 'state')} and {len(is_eos_s)} is_eos_s for {counted(len(pieces), 'row')}"
            )
        rows: list[tuple[Array, list[Hypothesis]]] = []
        for piece, state, is_last in zip(pieces, states, is_eos_s, strict=False):
            tried = self._pruned(piece)
            state.state = self._search.step(tried, state.state)
            state.log_probs.append(tried)
            rows.append((np.concatenate(state.log_probs), self._finish(state.state)) if is_last else (tried, []))
        beams = max(len(found) for _, found in rows)
        longest = max((len(hypothesis.labels) for _, found in rows for hypothesis in found), default=0)
        return self._result(rows, beams, longest)


class DecoderState:
    """The state of an utterance that is decoded in pieces."""

    def __init__(self, decoder: OnlineCTCBeamDecoder) -> None:
        self.state: BeamState = decoder._search.start()
        self.log_probs: list[Array] = []


def _read_open_ended(path: str) -> NgramModel:
    model = read_lm(path)
    columns: dict[str, Any] = {field.name: getattr(model, field.name) for field in fields(model)}
    return _OpenEnded(**columns)


def peak_frames(log_probs: Array, labelings: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each labeling, the frame in which each of its labels is the most probable, on its best path.

    log_probs: (T, V), token 0 is the blank. Every labeling has a path of probability above 0.
    """
    frames, longest = len(log_probs), max(map(len, labelings), default=0)
    together = max(1, _LARGEST // max(1, frames * (2 * longest + 1)))
    groups = [labelings[start : start + together] for start in range(0, len(labelings), together)]
    return [peaks for group in groups for peaks in _peaks_of_group(log_probs, group)]


def _peaks_of_group(log_probs: Array, labelings: Sequence[Sequence[int]]) -> list[list[int]]:
    """The same by a Viterbi search for all labelings at once, over states blank, label, blank, ..."""
    lengths = np.array([len(labels) for labels in labelings])
    rows = np.arange(len(labelings))
    tokens = np.zeros((len(labelings), 2 * int(lengths.max(initial=0)) + 1), np.int64)
    for row, labels in enumerate(labelings):
        tokens[row, 1 : 2 * len(labels) : 2] = labels
    skips = np.zeros(tokens.shape, np.bool_)  # the blank before a label, unless equal labels are around it
    skips[:, 3::2] = tokens[:, 3::2] != tokens[:, 1:-2:2]
    best = np.full((len(labelings), tokens.shape[1] + 2), -np.inf)  # two columns before the first state
    best[:, 1] = 0.0  # where every path begins: it leads to the first blank, and by a skip to the first label
    skips[:, 1:2] = True
    moves = np.zeros((len(log_probs), *tokens.shape), np.int8)
    for t, frame in enumerate(log_probs):
        ways = np.stack([best[:, 2:], best[:, 1:-1], np.where(skips, best[:, :-2], -np.inf)])
        moves[t] = ways.argmax(0)
        best[:, 2:] = ways.max(0) + frame[tokens]
        best[:, 1] = -np.inf
    path = np.zeros((len(log_probs), len(labelings)), np.int64)
    last = np.maximum(2 * lengths - 1, 0)
    state = np.where(best[rows, 2 * lengths + 2] > best[rows, last + 2], 2 * lengths, last)
    for t in reversed(range(len(log_probs))):
        path[t] = state
        state = state - moves[t, rows, state]
    return [_peaks(log_probs, tokens[row], path[:, row]) for row in rows]


def _peaks(log_probs: Array, tokens: Array, path: Array) -> list[int]:
    """The most probable frame of each label of a path (T,) over states with these tokens."""
    order = np.lexsort((-log_probs[np.arange(len(path)), tokens[path]], path))
    states, first = np.unique(path[order], return_index=True)
    frames: list[int] = order[first[states % 2 == 1]].tolist()
    return frames
