"""How probable frames of music are to a model: the network on whole segments, every note given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.music.frames import Context, FrameCode, Wishes
from recitative.music.likelihood import BATCH, Likelihood, padded
from recitative.music.network import MusicModel, MusicNetwork
from recitative.music.pieces import Frames
from recitative.stage import Ids, Padded, State


@dataclass(frozen=True)
class Scores:
    """Of every decision in the M frames that are in a piece, in their order: values (M, V, K), -inf for what may not
    be; targets (M, V); inside (N, T) says which frames these are; state after frame T, of use where a piece goes on."""

    values: Tensor
    targets: Tensor
    inside: npt.NDArray[np.bool_]
    state: State

    @property
    def losses(self) -> Tensor:
        """-ln P of what was decided, (M, V)."""
        return F.cross_entropy(self.values.transpose(1, 2), self.targets, reduction="none")


def score_frames(
    network: MusicNetwork, code: FrameCode, frames: Ids, context: Context, lengths: Ids, state: State
) -> Scores:
    """Of the frames (N, T, V), given what was before each and the state of the core; lengths: (N,)."""
    device = next(network.parameters()).device
    inside = np.arange(frames.shape[1]) < lengths[:, None]
    ids = _tensor(code.context_ids(context), device)
    x = Padded(ids, torch.full((len(ids),), ids.shape[1], device=device))  # rows of one length are read much faster
    h, state = network.context.step(x, state, last=False)
    numbers = range(len(code.order))
    choices, beside = zip(*(code.choice_ids(frames, context, number) for number in numbers), strict=True)
    allowed = [code.allowed(frames, number)[inside] for number in numbers]
    values = network.scores(
        h.data[_tensor(inside, device)][:, None].expand(-1, len(numbers), -1),  # (M, V, H)
        _tensor(np.stack([entry[inside] for entry in choices], axis=1), device),
        _tensor(np.stack([entry[inside] for entry in beside], axis=1), device),
    )
    values = values.masked_fill(~_tensor(np.stack(allowed, axis=1), device), -torch.inf)
    return Scores(values, _tensor(frames[inside][:, list(code.order)], device), inside, state)


def likelihood(model: MusicModel, pieces: Sequence[Frames]) -> Likelihood:
    """Of pieces of which the model is told nothing, but the tonic where ``pieces.key`` says that all have the same."""
    code = model.settings.frames.code
    nats = 0.0
    ordered = sorted(pieces, key=lambda piece: len(piece.tokens))
    for start in range(0, len(ordered), BATCH):
        nats += _nats(model, code, ordered[start : start + BATCH])
    frames = sum(len(piece.tokens) for piece in pieces)
    return Likelihood(nats, frames, frames * code.voices)


@torch.no_grad()
def _nats(model: MusicModel, code: FrameCode, pieces: Sequence[Frames]) -> float:
    x = padded([piece.tokens for piece in pieces], code.silence)
    key = np.full(len(pieces), 1 + model.settings.pieces.key, np.int64)  # 0 where it is not told
    wishes = Wishes(np.zeros(x.data.shape[:2], np.int64), key)
    context = code.contexts(x.data, code.nothing_read(len(pieces)), wishes)
    state = model.network.initial_state(len(pieces))
    scores = score_frames(model.network, code, x.data, context, x.lengths, state)
    return float(scores.losses.sum(dtype=torch.float64))


def _tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
