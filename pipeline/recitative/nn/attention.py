"""An attention decoder, and its location-aware additive attention (Bahdanau et al. 2015, Chorowski et al. 2015).

The decoder is that of Listen, attend and spell (Chan et al. 2016), on the encoder of a recognizer with CTC (Kim, Hori &
Watanabe 2017):

    s[i] = core(embedding of y[i-1], c[i-1])      c[i], a[i] = attention(s[i], a[i-1]) over frames U h[t]
    P(y[i] | y[<i], audio) = softmax(W [s[i], c[i]])

Its core is the project's own with one layer, and U makes the frames as narrow as the core, which halves the decoder's
part of the training time on a CPU. The attention:

    e[t] = w . tanh(W q + V h[t] + b + U f[t])        f = F * a', the previous weights a' under a convolution
    a    = softmax of e over the frames of the row     context = sum a[t] h[t]

V h, and U and F as one filter, are equal at every step and computed once (``Memory``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.config import AttentionSettings, RecurrentSettings
from recitative.nn.ragged import is_full, valid_mask, zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded, State, entries_of, named, run_whole


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
