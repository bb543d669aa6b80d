"""Embeddings of tokens and features; output layers for tokens, pitches, densities of frames and quantized samples; the
CTC loss (Graves et al. 2006), a CRF on top of it, and an attention decoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.config import AttentionSettings, RecurrentSettings
from recitative.errors import DataError
from recitative.nn.ragged import is_full, valid_mask, zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Framewise
from recitative.stage import Padded, State, entries_of, named, run_whole
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


# A CRF with the topology of CTC (Xiang & Ou 2019, "CRF-based single-stage acoustic modeling with CTC topology")
#
#     p(labels | input) = p_LM(labels) p_CTC(labels | input) / sum over l of p_LM(l) p_CTC(l | input)
#
# The loss compares the transcript with all other label sequences, each weighted by a trigram of labels. It is
# lattice-free MMI (Povey et al. 2016) without alignments. With CTC alone, every frame learns to prefer what is
# frequent, since labels are independent of each other, and in decoding the language model prefers it once more; here
# it takes part in training.


MAX_TOKENS = 100  # the sum goes through all trigrams of them in every frame


class LabelTrigram(nn.Module):
    """A trigram of labels, with all its probabilities in one table, smoothed by Witten & Bell 1991."""

    def __init__(self, rows: Iterable[Sequence[int]], tokens: int) -> None:
        """rows: label sequences, of ids in 1..tokens-1; 0 marks the begin of a sequence."""
        super().__init__()
        counts = np.zeros((tokens, tokens, tokens))
        for row in rows:
            history = np.concatenate([[0, 0], np.asarray(row, np.int64)])
            np.add.at(counts, (history[:-2], history[1:-1], history[2:]), 1)
        below = np.full(tokens, 1 / (tokens - 1))
        below[0] = 0  # the blank is no label
        for level in (counts.sum((0, 1)), counts.sum(0), counts):
            seen, kinds = level.sum(-1, keepdims=True), (level > 0).sum(-1, keepdims=True)
            below = np.where(seen > 0, (level + kinds * below) / np.maximum(seen + kinds, 1), below)
        self.log_probs: Tensor
        self.register_buffer("log_probs", torch.from_numpy(np.log(np.maximum(below, 1e-30))).float())

    def forward(self, log_probs: Padded[Tensor], labels: Padded[Tensor]) -> Tensor:
        """The loss of the CRF less that of CTC, summed over the batch, in nats. N may be 0."""
        return (self.log_sum(log_probs) - self.score(labels)).sum()

    def score(self, labels: Padded[Tensor]) -> Tensor:
        """ln p_LM of labels (N, L) -> (N,)."""
        history = nn.functional.pad(labels.data, (2, 0))
        scores = self.log_probs[history[:, :-2], history[:, 1:-1], history[:, 2:]]
        return torch.where(valid_mask(labels), scores, 0.0).sum(-1)

    def log_sum(self, log_probs: Padded[Tensor]) -> Tensor:
        """ln of the sum over all label sequences of p_LM p_CTC: (N, T, V) float32 -> (N,), differentiable.

        The forward algorithm. A state is the last two labels, and whether the last frame was a label or a blank. Its
        probabilities are scaled to a sum of 1 in every frame.
        """
        if not log_probs.data.numel():
            return log_probs.data.sum((1, 2))  # 0, with a gradient
        with torch.autocast(log_probs.data.device.type, enabled=False):
            return self._log_sum(log_probs)

    def _log_sum(self, log_probs: Padded[Tensor]) -> Tensor:
        rows, _, tokens = log_probs.data.shape
        emitted = log_probs.data.exp().permute(1, 2, 0)[..., None]  # (T, V, N, 1)
        table = self.log_probs.exp().transpose(0, 1).contiguous()  # (last a, before x, next b)
        again = table.diagonal(dim1=0, dim2=2).T[:, None]  # (a, 1, x): a label twice, with a blank between
        other = table * (1 - torch.eye(tokens, device=table.device))[:, None]
        label = table.new_zeros(tokens, rows, tokens)  # (last a, row, before x)
        blank = label.clone()
        blank[0, :, 0] = 1
        scales = []
        for frame in emitted.unbind(0):
            both = label + blank
            onward = torch.bmm(both, other) + torch.diag_embed((blank * again).sum(-1).T).transpose(0, 1)  # (a, N, b)
            label, blank = frame * (label + onward.permute(2, 1, 0)), frame[0] * both
            scale = (label + blank).sum((0, 2))
            scales.append(scale.log())
            label, blank = label / scale[:, None], blank / scale[:, None]
        sums = torch.stack(scales, -1).cumsum(-1)  # (N, T)
        last = (log_probs.lengths.to(sums.device) - 1).clamp(min=0)
        return sums.gather(-1, last[:, None])[:, 0]


# Location-aware additive attention (Bahdanau et al. 2015, Chorowski et al. 2015), and its decoder, that of Listen,
# attend and spell (Chan et al. 2016), on the encoder of a recognizer with CTC (Kim, Hori & Watanabe 2017):
#
#     s[i] = core(embedding of y[i-1], c[i-1])      c[i], a[i] = attention(s[i], a[i-1]) over frames U h[t]
#     P(y[i] | y[<i], audio) = softmax(W [s[i], c[i]])
#
# Its core is the project's own with one layer, and U makes the frames as narrow as the core, which halves the decoder's
# part of the training time on a CPU. The attention:
#
#     e[t] = w . tanh(W q + V h[t] + b + U f[t])        f = F * a', the previous weights a' under a convolution
#     a    = softmax of e over the frames of the row     context = sum a[t] h[t]
#
# V h, and U and F as one filter, are equal at every step and computed once (``Memory``).


@dataclass(frozen=True)
class Memory:
    """The attended sequence, computed once. M rows: one for each query, or a single one for all queries.

    keys:    (M, T, K)
    values:  (M, T, C), zeros beyond a row's length
    padding: (M, T) True for frames beyond their row
    places:  (kernel, K), the contribution of each previous weight to the energy, by its distance
    """

    keys: Tensor
    values: Tensor
    padding: Tensor
    places: Tensor

    def first_weights(self, n: int) -> Tensor:
        """(n, T), all weight on the first frame, where speech begins."""
        weights = self.values.new_zeros(n, self.values.shape[1], dtype=torch.float32)
        weights[:, :1] = 1.0
        return weights


class LocationAttention(nn.Module):
    """One step: query (N, H) and previous weights (N, T) -> context (N, C) and weights (N, T).

    The weights are zero in the padding and sum to one over a row's frames. A row without a frame has a context of
    zeros.
    """

    def __init__(self, query_width: int, value_width: int, key_width: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, key_width, bias=False)
        self.key = nn.Linear(value_width, key_width)
        self.locate = nn.Linear(kernel, channels, bias=False)
        self.place = nn.Linear(channels, key_width, bias=False)
        self.energy = nn.Linear(key_width, 1, bias=False)

    def remember(self, x: Padded[Tensor]) -> Memory:
        """The memory of encoded rows (M, T, C)."""
        values = zero_padding(x)
        places = (self.place.weight @ self.locate.weight).T  # (kernel, K)
        return Memory(self.key(values), values, ~valid_mask(x), places)

    def forward(self, query: Tensor, previous: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        heard = self.query(query)[:, None] + memory.keys  # (N, T, K)
        windows = _windows(previous, len(memory.places))
        compared = torch.tanh(torch.addmm(heard.flatten(0, 1), windows, memory.places))  # (N * T, K)
        energies = (compared @ self.energy.weight[0]).float().reshape(previous.shape)
        # Not -inf: a row without a frame would be NaN.
        energies = energies.masked_fill(memory.padding, torch.finfo(energies.dtype).min)
        weights = torch.softmax(energies, dim=-1)
        return _mean(weights, memory.values), weights


def _windows(weights: Tensor, kernel: int) -> Tensor:
    """(N, T) -> (N * T, kernel): the weights around each frame, zeros beyond the ends."""
    if weights.shape[1] == 0:
        return weights.new_zeros(0, kernel)
    return F.pad(weights, (kernel // 2, kernel // 2)).unfold(1, kernel, 1).reshape(-1, kernel)


def _mean(weights: Tensor, values: Tensor) -> Tensor:
    """(N, T) and (M, T, C) -> (N, C)"""
    weights = weights.to(values.dtype)
    if len(values) == 1:
        return weights @ values[0]
    return torch.bmm(weights[:, None], values)[:, 0]


# The attention decoder. Token 0, CTC's blank, is both the start of a text in the input and its end in the output, so
# that both outputs share one token table.

START = END = 0


class Speller:
    """The decoder for given audio, as a stage: previous labels (N, L) -> log probabilities (N, L, V).

    Whole texts at once are teacher forcing. The audio is N rows or a single one.
    State: ``core.*``, ``context`` (N, C) and ``weights`` (N, T) of the attention.
    """

    stride = 1
    lookahead = 0

    def __init__(self, decoder: AttentionDecoder, memory: Memory) -> None:
        self.decoder = decoder
        self.memory = memory

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        return self.decoder.initial_state(self.memory, n)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        ragged = not last and not is_full(x)
        embedded, one = self.decoder.embed(_masked(x)), torch.ones_like(x.lengths)  # (N, L, E)
        outputs = [embedded.new_zeros(len(x.lengths), 0, self.decoder.read_out_width)]
        for i, label in enumerate(embedded.unbind(1)):
            output, new_state = self.decoder.advance(Padded(label[:, None], one), state, self.memory)
            if ragged:
                within = (i < x.lengths)[:, None]
                new_state = {name: torch.where(within, value, state[name]) for name, value in new_state.items()}
            state = new_state
            outputs.append(output[:, None])
        log_probs = self.decoder.read_out(torch.cat(outputs, dim=1))
        return Padded(log_probs, x.lengths), self.initial_state(len(x.lengths)) if last else state


class AttentionDecoder(nn.Module):
    """Encoded audio (N, T, C) and texts -> log probabilities over V tokens.

    In training each previous label is with probability ``settings.sampling`` sampled from the decoder's own output
    (scheduled sampling, Bengio et al. 2015), with torch's generator.
    """

    def __init__(self, encoded_width: int, num_tokens: int, settings: AttentionSettings) -> None:
        super().__init__()
        self.settings = settings
        core = RecurrentSettings(direction="forward", layers=1, hidden=settings.hidden, dropout=settings.dropout)
        self.embedding = nn.Embedding(num_tokens, settings.embedding)
        self.hear = nn.Linear(encoded_width, settings.hidden)
        self.core = RecurrentStack(settings.embedding + settings.hidden, core)
        self.attention = LocationAttention(
            settings.hidden,
            settings.hidden,
            settings.key_width,
            settings.location_channels,
            settings.location_kernel,
        )
        self.read_out_width = 2 * settings.hidden
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(self.read_out_width, num_tokens)

    def speller(self, encoded: Padded[Tensor]) -> Speller:
        """The decoder as a stage for this audio."""
        frames = Padded(self.hear(zero_padding(encoded)), encoded.lengths)
        return Speller(self, self.attention.remember(frames))

    def forward(self, encoded: Padded[Tensor], labels: Padded[Tensor]) -> Padded[Tensor]:
        """ln P(next label | labels before it) for labels (N, L) and their end: (N, L + 1, V)."""
        speller, previous = self.speller(encoded), _with_start(labels)
        if self.training and self.settings.sampling:
            return self._sampled(speller, previous)
        return run_whole(speller, previous)

    def score(self, encoded: Padded[Tensor], labels: Padded[Tensor]) -> Tensor:
        """ln P(labels, end | audio), (N,), of one text for each row of the audio, or many for a single row."""
        log_probs, targets = run_whole(self.speller(encoded), _with_start(labels)), with_end(labels)
        chosen = log_probs.data.gather(2, targets.data[..., None])[..., 0]
        return chosen.masked_fill(~valid_mask(targets), 0.0).sum(dim=1)

    def greedy(self, encoded: Padded[Tensor], most_labels: int) -> Padded[Tensor]:
        """The likeliest label again and again up to the end or ``most_labels``: (N, L)."""
        speller, n = self.speller(encoded), len(encoded.lengths)
        state, label = speller.initial_state(n), encoded.lengths.new_full((n,), START)
        columns = [encoded.lengths.new_zeros(n, 0)]
        going = torch.ones_like(label, dtype=torch.bool)
        while len(columns) <= most_labels and bool(going.any()):
            log_probs, state = _spell(speller, label, state)
            label = log_probs.argmax(dim=-1)
            going = going & (label != END)
            columns.append(label.masked_fill(~going, END)[:, None])
        labels = torch.cat(columns, dim=1)
        return Padded(labels, (labels != END).sum(dim=1))

    def _sampled(self, speller: Speller, previous: Padded[Tensor]) -> Padded[Tensor]:
        state, label = speller.initial_state(len(previous.lengths)), previous.data[:, 0]
        outputs = []
        for true_label in [*previous.data.unbind(1)[1:], None]:
            log_probs, state = _spell(speller, label, state)
            outputs.append(log_probs)
            if true_label is not None:
                sampled = torch.multinomial(log_probs.detach().exp(), 1)[:, 0]
                replaced = torch.rand(len(sampled), device=sampled.device) < self.settings.sampling
                label = torch.where(replaced & (sampled != END), sampled, true_label)  # nothing follows an end
        return Padded(torch.stack(outputs, dim=1), previous.lengths)

    def initial_state(self, memory: Memory, n: int) -> State:
        context = memory.values.new_zeros(n, memory.values.shape[2])
        return named("core", self.core.initial_state(n)) | {"context": context, "weights": memory.first_weights(n)}

    def embed(self, labels: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.embedding(labels))
        return embedded

    def advance(self, embedded: Padded[Tensor], state: State, memory: Memory) -> tuple[Tensor, State]:
        """One label: embedded (N, 1, E) -> input of the output layer (N, ``read_out_width``), and the state."""
        x = torch.cat([embedded.data, state["context"][:, None]], dim=-1)  # (N, 1, E + C)
        y, core = self.core.step(Padded(x, embedded.lengths), entries_of("core", state), last=False)
        query = y.data[:, 0]
        context, weights = self.attention(query, state["weights"], memory)
        new_state = named("core", core) | {"context": context, "weights": weights}
        return torch.cat([query, context], dim=-1), new_state

    def read_out(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.output(x).float(), dim=-1)


def cross_entropy(log_probs: Padded[Tensor], labels: Padded[Tensor], smoothing: float = 0.0) -> tuple[Tensor, int]:
    """-ln P(labels, end) summed over the batch, in nats, and the number of labels and ends.

    With ``smoothing`` that part of each target is spread evenly over all tokens (Szegedy et al. 2016).
    """
    targets = with_end(labels)
    within = valid_mask(targets)
    rows, chosen = log_probs.data[within], targets.data[within]
    spread = rows.mean(dim=1).sum()
    return -(1 - smoothing) * rows.gather(1, chosen[:, None]).sum() - smoothing * spread, len(chosen)


def correct_labels(log_probs: Padded[Tensor], labels: Padded[Tensor]) -> int:
    """The number of labels and ends that are the likeliest, given the true labels before them."""
    targets = with_end(labels)
    return int(((log_probs.data.argmax(dim=-1) == targets.data) & valid_mask(targets)).sum())


def with_end(labels: Padded[Tensor]) -> Padded[Tensor]:
    """(N, L) -> (N, L + 1): every row followed by the end."""
    return Padded(F.pad(_masked(labels), (0, 1), value=END), labels.lengths + 1)


def _with_start(labels: Padded[Tensor]) -> Padded[Tensor]:
    return Padded(F.pad(_masked(labels), (1, 0), value=START), labels.lengths + 1)


def _masked(labels: Padded[Tensor]) -> Tensor:
    """Labels (N, L) with 0 beyond each row's length."""
    return labels.data.masked_fill(~valid_mask(labels), 0)


def _spell(speller: Speller, label: Tensor, state: State) -> tuple[Tensor, State]:
    """One label (N,) for every row -> log probabilities (N, V)."""
    log_probs, state = speller.step(Padded(label[:, None], torch.ones_like(label)), state, last=False)
    return log_probs.data[:, 0], state
