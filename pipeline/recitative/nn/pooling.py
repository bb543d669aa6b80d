"""Pooling over time, frame by frame: output t is the pooling of frames 0 to t, or of the last of them.

    last        y[t] = x[t]
    mean        y[t] = sum x[s] / (t + 1)                        over s = 0..t
    attention   y[t] = sum exp(a[s]) x[s] / sum exp(a[s])        over s = 0..t, with the score a[s] = w x[s] + b
    recent      y[t] = mean x[s]                                 over s = max(0, t - F + 1)..t, of F frames

The last valid output of a row is the pooling of the whole recording, and every output of a stream is the result that
the recording would have if it ended there. Sums are float64, so that the order of summation has no effect. In endless
streams only ``last`` and ``recent`` describe the current input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recitative.nn.normalize import RunningSums
from recitative.nn.ragged import cut, zero_padding
from recitative.nn.stages import Framewise, SameRate, SameWidth
from recitative.stage import Padded, State

BLOCK = 64  # frames per step of attention, which needs BLOCK x BLOCK weights in each row
NO_SCORE = -1e30  # the maximum of no scores; finite, since the difference of two infinities is NaN


class LastFrame(Framewise):
    """(N, T, C) -> (N, T, C), the identity: the pooled value is the last output of the recurrent core."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_width = self.output_width = width

    def forward(self, x: Tensor) -> Tensor:
        return x


class MeanPooling(RunningSums):
    """(N, T, C) -> (N, T, C), the mean of the frames so far. State: see ``RunningSums``."""

    def output(self, data: Tensor, sums: Tensor, count: Tensor) -> Tensor:
        return (sums / count[..., None]).to(data.dtype)


class RecentMean(SameWidth):
    """(N, T, C) -> (N, T, C), the mean of the last ``frames`` frames, or of fewer at the start.

    State: ``count`` (N,) int64, the number of frames so far, at most ``frames``; ``before`` (N, frames - 1, C), the
    last frames, preceded by zeros. Each mean is summed from its oldest frame to its newest, without carried rounding
    errors: its bits do not depend on how a row is cut.
    """

    def __init__(self, width: int, frames: int) -> None:
        """frames: at least 2."""
        super().__init__(width)
        self.frames = frames

    def initial_state(self, n: int) -> State:
        before = self._like.new_zeros(n, self.frames - 1, self.input_width)
        return {"count": torch.zeros(n, dtype=torch.int64, device=self._like.device), "before": before}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        data = zero_padding(x)
        size = data.shape[1]
        heard = torch.cat([state["before"].to(data.dtype), data], dim=1)  # row n ends at frames - 1 + lengths[n]
        wide = heard.double()
        total = wide[:, :size]
        for age in range(1, self.frames):
            total = total + wide[:, age : age + size]
        count = (state["count"][:, None] + torch.arange(1, size + 1, device=data.device)).clamp(max=self.frames)
        y = Padded((total / count[..., None]).to(data.dtype), x.lengths)
        if last:
            return y, self.initial_state(len(x.lengths))
        before = cut(Padded(heard, x.lengths), x.lengths, torch.full_like(x.lengths, self.frames - 1))
        return y, {"count": (state["count"] + x.lengths).clamp(max=self.frames), "before": before.data}


class AttentionPooling(SameRate):
    """(N, T, C) -> (N, T, C), the mean of the frames so far, weighted by the softmax of learned scores.

    Initially all scores are 0: it starts as the mean.

    State, of the frames so far, float64 (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax"):
    ``peak`` (N,) the maximal score m; ``weight`` (N,) the sum of exp(a - m); ``sum`` (N, C) the sum of exp(a - m) x.
    The exponents are at most 0, and the largest is 0: neither sum overflows, and the weight is at least 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_width = self.output_width = width
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def initial_state(self, n: int) -> State:
        sums = torch.zeros(n, self.input_width, dtype=torch.float64, device=self.score.weight.device)
        return {"peak": sums.new_full((n,), NO_SCORE), "weight": sums.new_zeros(n), "sum": sums}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        data = zero_padding(x)
        scores = self.score(data)[..., 0].double()  # (N, T)
        pooled = [data.new_zeros(len(data), 0, self.output_width)]
        for start in range(0, data.shape[1], BLOCK):
            inside = (x.lengths - start).clamp(0, BLOCK)
            here = slice(start, start + BLOCK)
            part, state = _pool(scores[:, here], data[:, here].double(), inside, state)
            pooled.append(part.to(data.dtype))
        y = Padded(torch.cat(pooled, dim=1), x.lengths)
        return y, self.initial_state(len(x.lengths)) if last else state


def _pool(scores: Tensor, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
    """One block: scores (N, B), x (N, B, C), lengths (N,) in the block -> (N, B, C) and the state after the lengths."""
    # The peak cancels in y, so no gradient needs to flow through it.
    peak = torch.maximum(scores.detach().cummax(1).values, state["peak"][:, None])  # (N, B) of frames up to each
    weights = (scores[:, None, :] - peak[:, :, None]).clamp(max=0).exp().tril()  # (N, B, B): of frame s at t >= s
    carried = (state["peak"][:, None] - peak).exp()  # (N, B): factor of the old sums
    weight = carried * state["weight"][:, None] + weights.sum(2)
    total = carried[..., None] * state["sum"][:, None] + weights @ x
    sums = {"peak": peak, "weight": weight, "sum": total}
    return total / weight[..., None], {name: _at_end(value, lengths, state[name]) for name, value in sums.items()}


def _at_end(values: Tensor, lengths: Tensor, before: Tensor) -> Tensor:
    """(N, B, ...) at each row's last frame, or ``before`` (N, ...) for a row without one."""
    rows = torch.arange(len(lengths), device=lengths.device)
    found = values[rows, (lengths - 1).clamp(min=0)]
    some = (lengths > 0).view(-1, *[1] * (before.dim() - 1))
    return torch.where(some, found, before)
