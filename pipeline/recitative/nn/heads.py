"""Embeddings of tokens and features; output layers for tokens, pitches, densities of frames and quantized samples; the
CTC loss (Graves et al. 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.errors import DataError
from recitative.nn.ragged import valid_mask
from recitative.nn.stages import Framewise
from recitative.stage import Padded, State
from recitative.text.tokens import required_frames

INITIAL_RANGE = 0.1  # initial weights within -0.1..0.1 (Zaremba et al. 2014): a tied output starts nearly uniform


class Embedding(Framewise):
    """Token ids (N, T) int64 in 0..V-1 -> (N, T, width). Padding may have any value."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.output_width = width
        self.weight = nn.Parameter(torch.empty(tokens, width).uniform_(-INITIAL_RANGE, INITIAL_RANGE))

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.weight)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        inside = torch.where(valid_mask(x), x.data, x.data.new_zeros(()))
        return Padded(self(inside), x.lengths), {}


class EmbeddingSum(nn.Module):
    """The sum of the embeddings of several features: ids (..., F) int64 -> (..., width).

    All features share one table of ``entries`` rows, with separate ranges. In training each feature is dropped with
    probability ``dropout`` and the others are scaled up (Srivastava et al. 2014): with little music, a model otherwise
    memorizes combinations.
    """

    def __init__(self, entries: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.output_width = width
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(entries, width).uniform_(-INITIAL_RANGE, INITIAL_RANGE))

    def forward(self, ids: Tensor) -> Tensor:
        flat = ids.flatten(0, -2)
        kept = None
        if self.training and self.dropout:
            kept = F.dropout(torch.ones(flat.shape, dtype=self.weight.dtype, device=flat.device), self.dropout)
        summed: Tensor = F.embedding_bag(flat, self.weight, mode="sum", per_sample_weights=kept)
        return summed.view(*ids.shape[:-1], self.output_width)


class EmbeddedFeatures(Framewise):
    """``EmbeddingSum`` as a stage: ids (N, T, F) int64 -> (N, T, width)."""

    def __init__(self, entries: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.output_width = width
        self.table = EmbeddingSum(entries, width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.table(x)
        return summed


class TiedLogProbs(Framewise):
    """The output layer with tied weights: (N, T, C) -> (N, T, V), ln softmax(x' E^T + b), float32.

    x' is x, or a projection of x to the embedding's width if that differs. Press & Wolf 2017; Inan et al. 2017.
    """

    def __init__(self, input_width: int, embedding: Embedding) -> None:
        super().__init__()
        tokens, width = embedding.weight.shape
        self.output_width = tokens
        self.project = nn.Linear(input_width, width) if input_width != width else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(tokens))
        self._embedding = (embedding,)  # in a tuple, so that PyTorch does not register its weights twice

    @property
    def weight(self) -> Tensor:
        """(V, width)"""
        return self._embedding[0].weight

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(F.linear(self.project(x), self.weight, self.bias).float(), dim=-1)


class PitchHead(nn.Module):
    """Scores of the pitch of one voice, from the core's output, features of the voice and known pitches ``beside`` it.

        g = r + gelu(W2 r),  r = gelu(W1 h + sum of the features' vectors)
        score(pitch p) = (A g)_p + sum over known pitches q beside it of (B_q g)_(p - q),    score(silence) = (A g)_K

    A pitch is scored by itself and by its interval to each of the others, so that chords and steps learned in one key
    apply to all. The voices of a frame are generated in sequence (as in RNN-NADE, Boulanger-Lewandowski et al. 2012,
    whose sequence is over all piano keys, not over voices).
    """

    def __init__(
        self,
        hidden: int,
        width: int,
        entries: int,
        pitches: int,
        beside: int,
        dropout: float = 0.0,
        feature_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pitches = pitches
        self.choices = EmbeddingSum(entries, width, feature_dropout)
        self.from_core = nn.Linear(hidden, width)
        self.inner = nn.Linear(width, width)
        self.alone = nn.Linear(width, pitches + 1)  # silence last
        self.between = nn.Linear(width, beside * (2 * pitches - 1))
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.between.weight)
        nn.init.zeros_(self.between.bias)

    def forward(self, h: Tensor, ids: Tensor, beside: Tensor) -> Tensor:
        """(..., H), features (..., F), tokens (..., R) -> scores (..., pitches + 1) float32, before the softmax.

        Tokens >= ``pitches`` are not pitches and are ignored.
        """
        r = self.dropout(F.gelu(self.from_core(h) + self.choices(ids)))
        g = r + self.dropout(F.gelu(self.inner(r)))
        scores: Tensor = self.alone(g) + F.pad(self._intervals(g, beside), (0, 1))
        return scores.float()

    def _intervals(self, g: Tensor, beside: Tensor) -> Tensor:
        by_interval: Tensor = self.between(g)
        by_interval = by_interval.view(*beside.shape, 2 * self.pitches - 1)  # (..., R, 2 K - 1)
        pitches = torch.arange(self.pitches, device=g.device)
        known = beside < self.pitches
        index = pitches - torch.where(known, beside, 0)[..., None] + self.pitches - 1  # (..., R, K)
        return (by_interval.gather(-1, index) * known[..., None]).sum(-2)


INITIAL_RAW = math.log(math.e - 1)  # its softplus is 1: the standard deviation of the corpus


@dataclass(frozen=True)
class GaussianMixture:
    """log_weights (..., K); means and (standard) deviations (..., K, C)."""

    log_weights: Tensor
    means: Tensor
    deviations: Tensor

    def nll(self, x: Tensor) -> Tensor:
        """-ln p(x) / C of frames (..., C), in nats per dimension -> (...)."""
        distance = (x[..., None, :] - self.means) / self.deviations
        parts = -0.5 * distance.square() - self.deviations.log()
        log_p = torch.logsumexp(self.log_weights + parts.sum(-1), dim=-1) - 0.5 * x.shape[-1] * math.log(2 * math.pi)
        return -log_p / x.shape[-1]


class MixtureDensity(nn.Module):
    """The output layer of forecasts: a mixture of GaussianMixture over the next frame (Bishop 1994, "Mixture density
    networks").

        p(x | h) = sum over k of w_k prod over c of N(x_c; m_kc, s_kc)

    (..., H) -> mixture over frames of ``channels``, which are independent within a component. Deviations are at least
    ``least_deviation``, so that no frame is infinitely probable: a constant channel would otherwise dominate the loss.
    """

    def __init__(self, input_width: int, channels: int, components: int, least_deviation: float) -> None:
        super().__init__()
        self.channels, self.components, self.least_deviation = channels, components, least_deviation
        self.linear = nn.Linear(input_width, components * (1 + 2 * channels))
        self.sizes = (components, components * channels, components * channels)

    def forward(self, h: Tensor) -> GaussianMixture:
        weights, means, raw = self.linear(h).float().split(self.sizes, dim=-1)
        shape = (*h.shape[:-1], self.components, self.channels)
        deviations = self.least_deviation + F.softplus(raw + INITIAL_RAW)
        return GaussianMixture(F.log_softmax(weights, dim=-1), means.view(shape), deviations.view(shape))


class SampleHead(nn.Module):
    """The last tier of SampleRNN (Mehri et al. 2017): scores of the level of each sample, given those before it.

    The core gives one output for ``step`` samples; a small network without state scores each sample from that output
    and the preceding samples.

        r = relu(U_k h + W (last ``history`` samples) + E[last level]),   scores = W3 relu(W2 r)

    U_k is a separate matrix for each of the ``step`` positions.
    """

    def __init__(self, hidden: int, width: int, step: int, history: int, levels: int) -> None:
        super().__init__()
        self.step, self.width, self.history = step, width, history
        self.from_core = nn.Linear(hidden, step * width)
        self.from_samples = nn.Linear(history, width, bias=False)
        self.from_level = nn.Parameter(torch.empty(levels, width).uniform_(-0.1, 0.1))
        self.inner = nn.Linear(width, width)
        self.scores = nn.Linear(width, levels)

    def forward(self, h: Tensor, levels: Tensor, values: Tensor) -> Tensor:
        """Teacher forcing.

        h: (N, J, H); levels: (N, J step) int64, the level before each sample; values: (N, history - 1 + J step),
        network inputs of the samples from ``history`` before the first one up to the last but one -> scores (N, J step,
        levels) before the softmax.
        """
        conditioning = self.from_core(h).view(h.shape[0], -1, self.width)  # (N, J, step W) -> (N, J step, W)
        kernel = self.from_samples.weight[:, None]  # (W, 1, history)
        context = F.conv1d(values[:, None], kernel).transpose(1, 2)
        r = torch.relu(conditioning + context + F.embedding(levels, self.from_level))
        scores: Tensor = self.scores(torch.relu(self.inner(r)))
        return scores


def ctc_loss(log_probs: Padded[Tensor], labels: Padded[Tensor], names: Sequence[str]) -> tuple[Tensor, int]:
    """-log p(labels | input) summed over the batch, in nats, and the number of labels.

    log_probs: (N, T, V) float32, token 0 is the blank
    labels:    (N, L) int64 in 1..V-1
    names:     N utterance ids, for errors; N may be 0
    Raises DataError that names the utterances with too few frames for their labels. Their loss would be infinite, and
    zero instead (``zero_infinity``) would make a broken utterance look perfect.
    """
    if not names:
        return log_probs.data.sum(), 0  # 0, with a gradient; PyTorch refuses empty batches
    _require_room(log_probs.lengths, labels, names)
    sums = F.ctc_loss(
        log_probs.data.transpose(0, 1),  # (N, T, V) -> (T, N, V)
        labels.data,
        log_probs.lengths,
        labels.lengths,
        blank=0,
        reduction="sum",
        zero_infinity=False,
    )
    return sums, int(labels.lengths.sum())


def _require_room(frames: Tensor, labels: Padded[Tensor], names: Sequence[str]) -> None:
    rows = zip(names, frames.tolist(), labels.data.tolist(), labels.lengths.tolist(), strict=True)
    short = [
        f"'{name}' ({have} frames, needs {need})"
        for name, have, row, n in rows
        if have < (need := required_frames(row[:n]))
    ]
    if short:
        raise DataError(
            f"utterance {', '.join(short)}",
            "the text is longer than the audio allows",
            "at least one frame a label and one more between equal neighbors",
            "correct the text or the segment, or lower the front end's stride",
        )


def fits(labels: Sequence[int], frames: int) -> bool:
    """Whether there is a frame for each label and one more between equal neighbors."""
    return required_frames(labels) <= frames


def padded_labels(rows: Sequence[Sequence[int]]) -> Padded[Tensor]:
    """Lists of labels as a padded batch (N, L)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    data = torch.zeros(len(rows), int(lengths.max()) if rows else 0, dtype=torch.int64)
    for i, row in enumerate(rows):
        data[i, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return Padded(data, lengths)
