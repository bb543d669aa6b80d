"""A letter-to-sound model (grapheme to phoneme): letters, the recurrent core, CTC over phones.

Each letter becomes ``frames_per_letter`` frames, since one letter may be several phones ("x": K S), and CTC writes none
or one in each (Rao et al. 2015 do the same with an output delay).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.asr.g2p_kind import G2P, G2PNetworkSettings, G2PSettings
from recitative.decoding.greedy import GreedyDecoder
from recitative.model.kind import AnyKind
from recitative.nn.embedding import Embedding
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded
from recitative.text.lexicon import Pronunciation
from recitative.text.tokens import TokenTable

ROWS = 256  # words that are pronounced at once


class G2PNetwork(nn.Module):
    """Letter ids (N, T) -> log probabilities over phones (N, frames_per_letter * T, V), float32."""

    def __init__(self, settings: G2PNetworkSettings, letters: int, phones: int) -> None:
        """letters, phones: of the tables, the blanks included."""
        super().__init__()
        self.frames_per_letter = settings.frames_per_letter
        self.embedding = Embedding(letters, settings.embedding)
        self.core = RecurrentStack(settings.embedding, settings.recurrent)
        self.head = nn.Linear(self.core.output_width, settings.frames_per_letter * phones)

    def forward(self, letters: Padded[Tensor]) -> Padded[Tensor]:
        embedded, _ = self.embedding.step(letters, {}, last=True)
        encoded, _ = self.core.step(embedded, {}, last=True)
        rows, frames = letters.data.shape
        scores = self.head(encoded.data).view(rows, frames * self.frames_per_letter, -1)
        return Padded(F.log_softmax(scores.float(), dim=-1), letters.lengths * self.frames_per_letter)


@dataclass(frozen=True)
class G2PModel:
    """A network with everything needed to pronounce words."""

    kind: ClassVar[AnyKind] = G2P
    settings: G2PSettings
    letters: TokenTable
    phones: TokenTable
    network: G2PNetwork

    def pronounce(self, words: Iterable[str]) -> dict[str, Pronunciation]:
        """Word -> its likeliest phones; a word with a letter that the model does not know, or for which it writes
        nothing, is left out. Puts the network into evaluation mode."""
        self.network.eval()
        known = sorted((word for word in dict.fromkeys(words) if word and not self.letters.unknown(word)), key=len)
        said: dict[str, Pronunciation] = {}
        for start in range(0, len(known), ROWS):
            said |= self._pronounce(known[start : start + ROWS])
        return said

    def _pronounce(self, words: Sequence[str]) -> dict[str, Pronunciation]:
        with torch.no_grad():
            log_probs = self.network(pad_words(words, self.letters))
        decoder = GreedyDecoder()
        x = Padded(log_probs.data.numpy(), log_probs.lengths.numpy())
        labels, _ = decoder.step(x, decoder.initial_state(len(words)), last=True)
        rows = zip(words, labels.data, labels.lengths, strict=True)
        found = {word: [self.phones.symbols[i] for i in row[:length] if i > 0] for word, row, length in rows}
        return {word: tuple(phones) for word, phones in found.items() if phones}


def pad_words(words: Sequence[str], letters: TokenTable) -> Padded[Tensor]:
    """Words of known letters as a padded batch of ids (N, T)."""
    rows = [torch.tensor(letters.encode(word), dtype=torch.int64) for word in words]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return Padded(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


def new_g2p(settings: G2PSettings, letters: TokenTable, phones: TokenTable) -> G2PModel:
    """A model with random weights (from torch's generator)."""
    return G2PModel(settings, letters, phones, G2PNetwork(settings.model, len(letters), len(phones)))
