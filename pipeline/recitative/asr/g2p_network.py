"""A letter-to-sound model (grapheme to phoneme): letters, the recurrent core, CTC over phones.

Each letter becomes ``frames_per_letter`` frames, since one letter may be several phones ("x": K S), and CTC writes none
or one in each (Rao et al. 2015 do the same with an output delay).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.asr.g2p_kind import G2P, G2PNetworkSettings, G2PSettings
from recitative.model.kind import AnyKind
from recitative.nn.embedding import Embedding
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded, State
from recitative.text.tokens import TokenTable


class G2PNetwork(nn.Module):
    """Stage: letter ids (N, T) -> ln P of the phones in each of a letter's frames, (N, T, frames_per_letter * V)."""

    stride, lookahead = 1, None  # the core reads in both directions

    def __init__(self, settings: G2PNetworkSettings, letters: int, phones: int) -> None:
        """letters, phones: of the tables, the blanks included."""
        super().__init__()
        self.frames_per_letter = settings.frames_per_letter
        self.embedding = Embedding(letters, settings.embedding)
        self.core = RecurrentStack(settings.embedding, settings.recurrent)
        self.head = nn.Linear(self.core.output_width, settings.frames_per_letter * phones)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        return {}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        y = self(x)
        return Padded(y.data.view(*x.data.shape, self.head.out_features), x.lengths), {}

    def forward(self, letters: Padded[Tensor]) -> Padded[Tensor]:
        """The same for CTC: frame after frame, (N, frames_per_letter * T, V), float32."""
        embedded, _ = self.embedding.step(letters, {}, last=True)
        encoded, _ = self.core.step(embedded, {}, last=True)
        rows, frames = letters.data.shape
        scores = self.head(encoded.data).view(rows, frames * self.frames_per_letter, -1)
        return Padded(F.log_softmax(scores.float(), dim=-1), letters.lengths * self.frames_per_letter)


@dataclass(frozen=True)
class G2PModel:
    """A network with its tables; ``asr.pronouncer`` pronounces words with it."""

    kind: ClassVar[AnyKind] = G2P
    settings: G2PSettings
    letters: TokenTable
    phones: TokenTable
    network: G2PNetwork


def pad_words(words: Sequence[str], letters: TokenTable) -> Padded[Tensor]:
    """Words of known letters as a padded batch of ids (N, T)."""
    rows = [torch.tensor(letters.encode(word), dtype=torch.int64) for word in words]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return Padded(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


def new_g2p(settings: G2PSettings, letters: TokenTable, phones: TokenTable) -> G2PModel:
    """A model with random weights (from torch's generator)."""
    return G2PModel(settings, letters, phones, G2PNetwork(settings.model, len(letters), len(phones)))
