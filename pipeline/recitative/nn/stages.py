"""Stages around the recurrent core: chains, delays, windows of frames (stacking, causal and look-ahead convolutions),
normalization, and pooling.

*Normalization.* Voices, microphones and rooms shift every channel of a recording. Subtracting the recording's own mean
removes that and speeds up training: on AN4 a fifth fewer errors after 30 epochs, though none fewer after 105.
(Normalizing by the recording's own variance was worse.) The mean starts from that of the corpus, 0 here, with the
weight of ``prior`` frames, so that a short recording is not normalized to nothing:

    y = x - sum x / (prior + n)

over all n frames of the recording (``UtteranceMean``), or over those up to the frame itself (``RunningMean``, like
Kaldi's online CMVN with an infinite window), which can stream.

*Pooling* over time, frame by frame: output t is the pooling of frames 0 to t, or of the last of them.

    last        y[t] = x[t]
    mean        y[t] = sum x[s] / (t + 1)                        over s = 0..t
    attention   y[t] = sum exp(a[s]) x[s] / sum exp(a[s])        over s = 0..t, with the score a[s] = w x[s] + b
    recent      y[t] = mean x[s]                                 over s = max(0, t - F + 1)..t, of F frames

The last valid output of a row is the pooling of the whole recording, and every output of a stream is the result that
the recording would have if it ended there. Sums are float64, so that the order of summation has no effect. In endless
streams only ``last`` and ``recent`` describe the current input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.config import FrontEndSettings
from recitative.errors import UsageError
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
    stages: dict[str, nn.Module] = {"normalize": Normalize(feature_dim)}
    match cmvn:
        case "utterance":
            stages["adapt"] = UtteranceMean(feature_dim)
        case "running":
            stages["adapt"] = RunningMean(feature_dim)
        case "global":
            pass
    return stages


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
