"""Normalization of features by the corpus and by the recording; batch normalization of convolutions.

Voices, microphones and rooms shift every channel of a recording. Subtracting the recording's own mean removes that and
speeds up training: on AN4 a fifth fewer errors after 30 epochs, though none fewer after 105. (Normalizing by the
recording's own variance was worse.) The mean starts from that of the corpus, 0 here, with the weight of ``prior``
frames, so that a short recording is not normalized to nothing:

    y = x - sum x / (prior + n)

over all n frames of the recording (``UtteranceMean``), or over those up to the frame itself (``RunningMean``, like
Kaldi's online CMVN with an infinite window), which can stream.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recitative.errors import UsageError
from recitative.nn.ragged import zero_padding
from recitative.nn.stages import Framewise, SameWidth
from recitative.stage import Padded, State

UTTERANCE_PRIOR = 20  # frames
RUNNING_PRIOR = 100  # larger: a recording starts with silence


class Normalize(Framewise):
    """Global mean and variance normalization, (x - mean) / stddev, with the statistics in the model."""

    mean: Tensor
    inverse_stddev: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output_width = width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("inverse_stddev", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.inverse_stddev


class UtteranceMean(SameWidth):
    """(N, T, C) -> (N, T, C), each row minus its own mean. Needs the whole input; no state.

    Raises UsageError if it is stepped in chunks.
    """

    lookahead = None

    def initial_state(self, n: int) -> State:
        return {}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        if not last:
            raise UsageError(
                "the mean of the utterance needs the whole input at once, not chunks; for streaming set model.cmvn to "
                "'running' or 'global' and train again"
            )
        data = zero_padding(x)
        mean = data.double().sum(1, keepdim=True) / (UTTERANCE_PRIOR + x.lengths[:, None, None])
        return Padded(data - mean.to(data.dtype), x.lengths), {}


class RunningSums(SameWidth):
    """Base of stages that use the mean of the frames so far.

    State: ``count`` (N,) and ``sum`` (N, C) of the frames so far; float64, so that the order of summation has no
    effect.
    """

    def initial_state(self, n: int) -> State:
        sums = torch.zeros(n, self.input_width, dtype=torch.float64, device=self._like.device)
        return {"count": sums.new_zeros(n), "sum": sums}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        data = zero_padding(x)
        wide = data.double()
        count = state["count"][:, None] + torch.arange(1, data.shape[1] + 1, device=data.device)  # (N, T)
        y = Padded(self.output(data, state["sum"][:, None] + wide.cumsum(1), count), x.lengths)
        if last:
            return y, self.initial_state(len(x.lengths))
        return y, {"count": state["count"] + x.lengths, "sum": state["sum"] + wide.sum(1)}

    def output(self, data: Tensor, sums: Tensor, count: Tensor) -> Tensor:
        """The output (N, T, C) for frames (N, T, C), sums (N, T, C) and counts (N, T) up to each frame."""
        raise NotImplementedError


class RunningMean(RunningSums):
    """(N, T, C) -> (N, T, C), each frame minus the mean of the row up to it. State: see ``RunningSums``."""

    def output(self, data: Tensor, sums: Tensor, count: Tensor) -> Tensor:
        return data - (sums / (RUNNING_PRIOR + count)[..., None]).to(data.dtype)


def normalization_stages(cmvn: Literal["global", "utterance", "running"], feature_dim: int) -> dict[str, nn.Module]:
    """Normalization by the corpus, followed by normalization of the recording as ``cmvn`` says."""
    stages: dict[str, nn.Module] = {"normalise": Normalize(feature_dim)}
    match cmvn:
        case "utterance":
            stages["adapt"] = UtteranceMean(feature_dim)
        case "running":
            stages["adapt"] = RunningMean(feature_dim)
        case "global":
            pass
    return stages
