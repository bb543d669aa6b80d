"""Stages without memory of their own, stages in sequence, a delay, and stages with a window of frames: stacking, causal
and look-ahead (row) convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.config import FrontEndSettings
from recitative.nn.ragged import cut, join, put_valid, take_valid, zero_padding
from recitative.stage import Padded, Sequential, State


class SameRate(nn.Module):
    """Base of stages with an output for every input, and without look-ahead."""

    stride: int | Fraction = 1  # a fraction: several outputs per input
    lookahead: int | None = 0

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths


class SameWidth(SameRate):
    """Base of such stages without parameters: (N, T, C) -> (N, T, C). ``_like`` has the device of their state."""

    _like: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_width = self.output_width = width
        self.register_buffer("_like", torch.zeros(()), persistent=False)


class Framewise(SameRate):
    """Base of stages that treat every frame alone, without state."""

    def initial_state(self, n: int) -> State:
        return {}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        # Zero the padding first: at padded frames the gradient of the weights would be 0 * NaN.
        return Padded(self(zero_padding(x)), x.lengths), {}


class Dropout(Framewise):
    """Dropout of single values, only in training."""

    def __init__(self, width: int, probability: float) -> None:
        super().__init__()
        self.output_width = width
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.probability, self.training)


class Project(Framewise):
    """A linear layer with ReLU, (N, T, C) -> (N, T, width)."""

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.output_width = width
        self.linear = nn.Linear(input_width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))


class LogProbs(Framewise):
    """The output layer: log probabilities of tokens, (N, T, C) -> (N, R * T, V), always float32.

    With R > 1 each step of the recurrent core predicts R frames: a network with a core of 80 ms and an output every
    40 ms costs half of one whose core runs at 40 ms (multi-frame prediction, Vanhoucke et al. 2013).
    """

    def __init__(self, input_width: int, tokens: int, outputs_per_step: int = 1) -> None:
        super().__init__()
        self.output_width = tokens
        self.outputs_per_step = outputs_per_step
        self.stride = Fraction(1, outputs_per_step)
        self.linear = nn.Linear(input_width, outputs_per_step * tokens)

    def forward(self, x: Tensor) -> Tensor:
        rows, steps, _ = x.shape
        scores = self.linear(x).float().view(rows, steps * self.outputs_per_step, self.output_width)
        return F.log_softmax(scores, dim=-1)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths * self.outputs_per_step

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        y, _ = super().step(x, state, last=last)
        return Padded(y.data, self.output_lengths(y.lengths)), {}


class Chain(Sequential[Tensor], nn.Module):
    """A network of named stages in sequence."""

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(dict(stages))

    def parts(self) -> Iterable[tuple[str, nn.Module]]:
        return self.stages.items()


class Delay(SameWidth):
    """y[t] = x[t - frames], with zeros before the first frame: (N, T, C) -> (N, T, C). Input of a forecast.

    The look-ahead is negative: output t does not depend on the last ``frames`` inputs up to t.

    State: ``before`` (N, frames, C), the last input frames.
    """

    def __init__(self, width: int, frames: int) -> None:
        """frames: at least 1."""
        super().__init__(width)
        self.frames = frames
        self.lookahead = -frames

    def initial_state(self, n: int) -> State:
        return {"before": self._like.new_zeros(n, self.frames, self.input_width)}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        heard = torch.cat([state["before"].to(x.data.dtype), x.data], dim=1)  # row n ends at frames + lengths[n]
        y = Padded(heard[:, : x.data.shape[1]], x.lengths)
        if last:
            return y, self.initial_state(len(x.lengths))
        index = x.lengths[:, None] + torch.arange(self.frames, device=x.lengths.device)
        before = heard.gather(1, index[..., None].expand(-1, -1, heard.shape[2]))
        return y, {"before": before}


# Stages with a window of frames, and the front end, which reduces the frame rate before the recurrent core.


class Windowed(nn.Module):
    """Base of stages whose output j of a row depends on its frames [j * stride, j * stride + window).

    It is computed as soon as the last of them has arrived; frames that no later window needs are dropped.
    State: ``pending`` (N, P, C), the frames still needed, and ``pending_lengths`` (N,); a new stream begins with
    ``before`` frames of zeros.
    """

    before = 0
    _like: Tensor

    def __init__(self, input_width: int, window: int, stride: int) -> None:
        super().__init__()
        self.input_width, self.window, self.stride = input_width, window, stride
        self.lookahead = window - 1 - self.before
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self._windows(lengths + self.before)

    def initial_state(self, n: int) -> State:
        lengths = torch.full((n,), self.before, device=self._like.device)
        return {"pending": self._like.new_zeros(n, self.before, self.input_width), "pending_lengths": lengths}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        heard = join(Padded(state["pending"], state["pending_lengths"]), x)
        heard = Padded(zero_padding(heard), heard.lengths)
        ready = self._windows(heard.lengths)
        y = Padded(self.output(heard.data, ready), ready)
        if last:
            return y, self.initial_state(len(ready))
        pending = cut(heard, ready * self.stride, heard.lengths - ready * self.stride)
        return y, {"pending": pending.data, "pending_lengths": pending.lengths}

    def output(self, frames: Tensor, ready: Tensor) -> Tensor:
        """Frames (N, T, C) with zeros as padding, and the number of complete windows (N,) -> (N, T', C')."""
        raise NotImplementedError

    def _windows(self, lengths: Tensor) -> Tensor:
        return torch.where(lengths >= self.window, (lengths - self.window) // self.stride + 1, 0)

    def _unfold(self, frames: Tensor, ready: Tensor) -> Tensor:
        """(N, T, C) -> (N, T', C, window) with T' the most complete windows of any row."""
        most = int(ready.max()) if len(ready) else 0
        if most == 0:
            return frames.new_zeros(len(ready), 0, frames.shape[2], self.window)
        return frames.unfold(1, self.window, self.stride)[:, :most]


class FrameStack(Windowed):
    """Join ``window`` frames into one, every ``stride`` frames: (N, T, C) -> (N, T', window * C).

    T' = floor((T - window) / stride) + 1: an incomplete last window is dropped, like Kaldi's snip-edges.
    """

    def __init__(self, input_width: int, window: int, stride: int) -> None:
        super().__init__(input_width, window, stride)
        self.output_width = window * input_width

    def output(self, frames: Tensor, ready: Tensor) -> Tensor:
        return self._unfold(frames, ready).transpose(2, 3).flatten(2)  # (N, T', window, C) -> (N, T', window C)


class CausalConv(Windowed):
    """A causal 3x3 convolution over time and channels, halving the channels, followed by ReLU.

    (N, T, planes * C) -> (N, ceil(T / stride), output_planes * ceil(C / 2)); output j depends on frames
    stride * j - 2 to stride * j, with zeros before the start. With ``norm`` there is a ``PlaneNorm`` before the ReLU.
    """

    before = 2

    def __init__(self, planes: int, channels: int, output_planes: int, stride: int = 2, *, norm: bool = False) -> None:
        super().__init__(planes * channels, 3, stride)
        self.planes, self.channels = planes, channels
        self.output_width = output_planes * ((channels + 1) // 2)
        self.conv = nn.Conv2d(planes, output_planes, kernel_size=3, stride=(stride, 2), padding=(0, 1))
        self.norm = PlaneNorm(output_planes) if norm else None

    def output(self, frames: Tensor, ready: Tensor) -> Tensor:
        most = int(ready.max()) if len(ready) else 0
        if most == 0:
            return frames.new_zeros(len(ready), 0, self.output_width)
        frames = frames[:, : (most - 1) * self.stride + self.window]
        planes = frames.reshape(*frames.shape[:2], self.planes, self.channels).transpose(1, 2)  # (N, planes, T, C)
        out = self.conv(planes).transpose(1, 2)  # (N, T', output_planes, C')
        return torch.relu(self.norm(out, ready) if self.norm else out).flatten(2)


class PlaneNorm(nn.Module):
    """Batch normalization of the planes of a convolution (Ioffe & Szegedy 2015), without padding:

        y = (x - mean) / sqrt(variance + eps) * gain + bias

    In training, with statistics of the frames of the batch; afterwards, with their moving averages, which are constants
    of each plane. It is the only layer whose gradient depends on how a batch is divided into parts.
    """

    mean: Tensor
    variance: Tensor
    eps = 1e-5
    momentum = 0.1

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(planes))
        self.bias = nn.Parameter(torch.zeros(planes))
        self.register_buffer("mean", torch.zeros(planes))
        self.register_buffer("variance", torch.ones(planes))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, planes, C) and lengths (N,) -> (N, T, planes, C)."""
        if not self.training:
            return self._normalized(x.flatten(0, 1)).view_as(x)
        padded = Padded(x, lengths)
        return put_valid(self._normalized(take_valid(padded)), padded)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The constants of each plane after training: y = scale x + shift."""
        scale = self.gain / torch.sqrt(self.variance + self.eps)
        return scale, self.bias - self.mean * scale

    def _normalized(self, x: Tensor) -> Tensor:
        """(M, planes, C). A batch without frames has no statistics."""
        training = self.training and len(x) > 0
        return F.batch_norm(x, self.mean, self.variance, self.gain, self.bias, training, self.momentum, self.eps)


class RowConv(Windowed):
    """Look-ahead convolution (Wang et al. 2016, Amodei et al. 2016), with state:

        y[t, c] = sum over k = 0..context of weight[c, k] * x[t + k, c]

    (N, T, C) -> (N, T, C); frames beyond the end are zeros.
    """

    def __init__(self, width: int, context: int) -> None:
        super().__init__(width, context + 1, 1)
        self.output_width, self.context = width, context
        weight = torch.randn(width, context + 1) * 0.05
        weight[:, 0] += 1.0  # starts close to the identity
        self.weight = nn.Parameter(weight)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        if last:
            silence = torch.full_like(x.lengths, self.context)
            x = join(x, Padded(x.data.new_zeros(len(silence), self.context, self.input_width), silence))
        return super().step(x, state, last=last)

    def output(self, frames: Tensor, ready: Tensor) -> Tensor:
        return (self._unfold(frames, ready) * self.weight).sum(-1)  # of (N, T', C, context + 1)


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
