"""Stages with a window of frames: stacking, causal convolution, look-ahead (row) convolution; and the front end, which
reduces the frame rate before the recurrent core.

Output j of a row depends on its pending frames [j * stride, j * stride + window) and is computed as soon as the last of
them has arrived; frames that no later window needs are dropped.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recitative.config import FrontEndSettings
from recitative.nn.normalize import PlaneNorm
from recitative.nn.ragged import cut, empty, join, zero_padding
from recitative.nn.stages import Project, SameRate
from recitative.stage import Padded, State


class FrameStack(nn.Module):
    """Join ``window`` frames into one, every ``stride`` frames: (N, T, C) -> (N, T', window * C).

    T' = floor((T - window) / stride) + 1: an incomplete last window is dropped, like Kaldi's snip-edges.
    State: ``pending`` (N, P, C) and ``pending_lengths`` (N,).
    """

    def __init__(self, input_width: int, window: int, stride: int) -> None:
        super().__init__()
        self.input_width = input_width
        self.window = window
        self.stride = stride
        self.output_width = window * input_width
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    @property
    def lookahead(self) -> int:
        return self.window - 1

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return _windows(lengths, self.window, self.stride)

    def initial_state(self, n: int) -> State:
        return _pack(empty(self._like, n, self.input_width))  # type: ignore[arg-type]

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        heard, ready, pending = _advance(_unpack(state), x, self.window, self.stride)
        stacked = _unfold(heard, ready, self.window, self.stride).transpose(2, 3)  # (N, T', window, C)
        y = Padded(stacked.flatten(2), ready)
        return y, self.initial_state(len(ready)) if last else _pack(pending)


class CausalConv(nn.Module):
    """A causal 3x3 convolution over time and channels, halving the channels, followed by ReLU.

    (N, T, planes * C) -> (N, ceil(T / stride), output_planes * ceil(C / 2)); output j depends on frames
    stride * j - 2 to stride * j, with zeros before the start. With ``norm`` there is a ``PlaneNorm`` before the ReLU.
    State: ``pending``, initially two frames of zeros, and ``pending_lengths``.
    """

    lookahead = 0
    window = 3

    def __init__(self, planes: int, channels: int, output_planes: int, stride: int = 2, *, norm: bool = False) -> None:
        super().__init__()
        self.planes, self.channels = planes, channels
        self.stride = stride
        self.input_width = planes * channels
        self.output_width = output_planes * ((channels + 1) // 2)
        self.conv = nn.Conv2d(planes, output_planes, kernel_size=3, stride=(stride, 2), padding=(0, 1))
        self.norm = PlaneNorm(output_planes) if norm else None

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return _windows(lengths + self.window - 1, self.window, self.stride)

    def initial_state(self, n: int) -> State:
        weight = self.conv.weight
        zeros = weight.new_zeros(n, self.window - 1, self.input_width)
        return _pack(Padded(zeros, torch.full((n,), self.window - 1, device=weight.device)))

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        heard, ready, pending = _advance(_unpack(state), x, self.window, self.stride)
        y = Padded(self._convolve(heard, ready), ready)
        return y, self.initial_state(len(ready)) if last else _pack(pending)

    def _convolve(self, heard: Padded[Tensor], ready: Tensor) -> Tensor:
        most = int(ready.max()) if len(ready) else 0
        if most == 0:
            return heard.data.new_zeros(len(ready), 0, self.output_width)
        frames = heard.data[:, : (most - 1) * self.stride + self.window]
        planes = frames.reshape(*frames.shape[:2], self.planes, self.channels).transpose(1, 2)  # (N, planes, T, C)
        out = self.conv(planes).transpose(1, 2)  # (N, T', output_planes, C')
        return torch.relu(self.norm(out, ready) if self.norm else out).flatten(2)


class RowConv(SameRate):
    """Look-ahead convolution (Wang et al. 2016, Amodei et al. 2016), with state:

        y[t, c] = sum over k = 0..context of weight[c, k] * x[t + k, c]

    (N, T, C) -> (N, T, C); frames beyond the end are zeros. State: ``pending`` and ``pending_lengths``.
    """

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.input_width = self.output_width = width
        self.context = self.lookahead = context
        weight = torch.randn(width, context + 1) * 0.05
        weight[:, 0] += 1.0  # starts close to the identity
        self.weight = nn.Parameter(weight)

    def initial_state(self, n: int) -> State:
        return _pack(empty(self.weight, n, self.input_width))

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        if last:
            silence = torch.full_like(x.lengths, self.context)
            x = join(x, Padded(x.data.new_zeros(len(silence), self.context, self.input_width), silence))
        heard, ready, pending = _advance(_unpack(state), x, self.context + 1, 1)
        windows = _unfold(heard, ready, self.context + 1, 1)  # (N, T', C, context + 1)
        y = Padded((windows * self.weight).sum(-1), ready)
        return y, self.initial_state(len(ready)) if last else _pack(pending)


def add_front_end(stages: dict[str, nn.Module], settings: FrontEndSettings, feature_dim: int) -> int:
    """Append the front end to ``stages``; returns its output width."""
    if settings.kind == "stack":
        stack = FrameStack(feature_dim, settings.window, settings.stride)
        stages["stack"] = stack
        width = stack.output_width
    else:
        width, planes, channels = feature_dim, 1, feature_dim
        for i, (output_planes, stride) in enumerate(zip(settings.channels, settings.conv_strides, strict=True)):
            conv = CausalConv(planes, channels, output_planes, stride, norm=settings.norm)
            stages[f"conv{i}"] = conv
            width, planes, channels = conv.output_width, output_planes, (channels + 1) // 2
    if settings.width:
        stages["project"] = Project(width, settings.width)
        width = settings.width
    return width


def _windows(lengths: Tensor, window: int, stride: int) -> Tensor:
    return torch.where(lengths >= window, (lengths - window) // stride + 1, 0)


def _advance(
    pending: Padded[Tensor], x: Padded[Tensor], window: int, stride: int
) -> tuple[Padded[Tensor], Tensor, Padded[Tensor]]:
    """All frames (padding zeroed), the number of complete windows (N,), and the frames that later windows need."""
    heard = join(pending, x)
    heard = Padded(zero_padding(heard), heard.lengths)
    ready = _windows(heard.lengths, window, stride)
    return heard, ready, cut(heard, ready * stride, heard.lengths - ready * stride)


def _unfold(x: Padded[Tensor], ready: Tensor, window: int, stride: int) -> Tensor:
    """(N, T, C) -> (N, T', C, window) with T' the most complete windows of any row."""
    most = int(ready.max()) if len(ready) else 0
    if most == 0:
        return x.data.new_zeros(len(ready), 0, x.data.shape[2], window)
    return x.data.unfold(1, window, stride)[:, :most]


def _pack(pending: Padded[Tensor]) -> State:
    return {"pending": pending.data, "pending_lengths": pending.lengths}


def _unpack(state: State) -> Padded[Tensor]:
    return Padded(state["pending"], state["pending_lengths"])
