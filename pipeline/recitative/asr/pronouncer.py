"""Pronouncing words with a letter-to-sound model (``asr.g2p_task``). NumPy only.

The network may be PyTorch's (``model.torch_stage``) or ONNX Runtime's (``model.onnx_stage``): both are stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from recitative import pretrained
from recitative.asr.g2p_kind import G2P
from recitative.decoding.greedy import best_labels
from recitative.model.onnx_stage import open_file
from recitative.stage import Array, Padded, Stage
from recitative.text.lexicon import Pronunciation
from recitative.text.tokens import TokenTable

ROWS = 256  # words that are pronounced at once


class Pronouncer:
    """A loaded letter-to-sound model."""

    def __init__(self, network: Stage[Array], letters: TokenTable, phones: TokenTable) -> None:
        """``network`` is a stage, letter ids (N, T) int64 -> log probabilities (N, T, frames_per_letter * V)."""
        self.network = network
        self.letters = letters
        self.phones = phones

    def pronounce(self, words: Iterable[str]) -> dict[str, Pronunciation]:
        """Word -> its most probable phones; words with an unknown letter, or without phones, are left out."""
        known = sorted((word for word in dict.fromkeys(words) if word and not self.letters.unknown(word)), key=len)
        found: dict[str, Pronunciation] = {}
        for start in range(0, len(known), ROWS):
            found |= self._pronounce(known[start : start + ROWS])
        return found

    def _pronounce(self, words: Sequence[str]) -> dict[str, Pronunciation]:
        lengths = np.array([len(word) for word in words], np.int64)
        letters = np.zeros((len(words), lengths.max()), np.int64)
        for row, word in zip(letters, words, strict=True):
            row[: len(word)] = self.letters.encode(word)
        y, _ = self.network.step(Padded(letters, lengths), self.network.initial_state(len(words)), last=True)
        log_probs = y.data.reshape(len(words), -1, len(self.phones))  # each letter's frames one after another
        rows = best_labels(Padded(log_probs, lengths * (log_probs.shape[1] // letters.shape[1])))
        return {w: tuple(self.phones.symbols[i] for i in row) for w, row in zip(words, rows, strict=True) if row}


def guess(words: Sequence[str], tokens: TokenTable) -> Mapping[str, Pronunciation]:
    """Word -> its phones by the English letter-to-sound model that comes with the package.

    Empty if ``tokens`` lacks some of its phones. Words with unknown letters are left out. Case is ignored.
    """
    if not words or not (pronouncer := _pretrained()) or not set(pronouncer.phones.symbols) <= set(tokens.symbols):
        return {}
    found = pronouncer.pronounce([word.lower() for word in words])
    return {word: found[word.lower()] for word in words if word.lower() in found}


@cache
def _pretrained() -> Pronouncer | None:
    path = pretrained.path_of(pretrained.G2P)
    return open_file(path, G2P) if path else None
