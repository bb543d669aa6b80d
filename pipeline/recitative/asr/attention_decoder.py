"""An attention decoder: the text letter by letter, each with a look at the whole recording.

Listen, attend and spell (Chan et al. 2016), trained beside CTC on one encoder (Kim, Hori & Watanabe 2017):

    s[i] = core(embedding of y[i-1], c[i-1])      c[i], a[i] = attention(s[i], a[i-1]) over frames U h[t]
    P(y[i] | y[<i], audio) = softmax(W [s[i], c[i]])

It differs from both in the core, which is the project's own with one layer, and in U, which makes the frames as narrow
as the core: that halves the decoder's part of the training time on a CPU.

Token 0, CTC's blank, stands for the start of the text where it is read and for its end where it is said, so that both
outputs share one token table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.config import AttentionSettings, RecurrentSettings
from recitative.nn.attention import LocationAttention, Memory
from recitative.nn.ragged import is_full, valid_mask, zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded, State

START = END = 0


class Speller:
    """The decoder before some encoded audio, as a stage: previous labels (N, L) -> log probabilities (N, L, V).

    With T = 1 it spells; with the whole text at once it is forced by a teacher. The audio is N rows or a single one.
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
        outputs = [embedded.new_zeros(len(x.lengths), 0, self.decoder.said_width)]
        for i, label in enumerate(embedded.unbind(1)):
            said, new_state = self.decoder.advance(Padded(label[:, None], one), state, self.memory)
            state = _where(i < x.lengths, new_state, state) if ragged else new_state
            outputs.append(said[:, None])
        log_probs = self.decoder.read_out(torch.cat(outputs, dim=1))
        return Padded(log_probs, x.lengths), self.initial_state(len(x.lengths)) if last else state


class AttentionDecoder(nn.Module):
    """Encoded audio (N, T, C) and texts -> log probabilities over V tokens.

    In training each previous label is with probability ``settings.sampling`` one drawn from the decoder's own output
    (Bengio et al. 2015), by torch's generator.
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
        self.said_width = 2 * settings.hidden
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(self.said_width, num_tokens)

    def speller(self, encoded: Padded[Tensor]) -> Speller:
        """The decoder as a stage before this audio."""
        heard = Padded(self.hear(zero_padding(encoded)), encoded.lengths)
        return Speller(self, self.attention.remember(heard))

    def forward(self, encoded: Padded[Tensor], labels: Padded[Tensor]) -> Padded[Tensor]:
        """ln P(next label | labels before it) for labels (N, L) and their end: (N, L + 1, V)."""
        speller, previous = self.speller(encoded), _with_start(labels)
        if self.training and self.settings.sampling:
            return self._sampled(speller, previous)
        return _forced(speller, previous)

    def score(self, encoded: Padded[Tensor], labels: Padded[Tensor]) -> Tensor:
        """ln P(labels, end | audio), (N,), of one text for each row of the audio, or many for a single row."""
        log_probs, targets = _forced(self.speller(encoded), _with_start(labels)), with_end(labels)
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
                label = _draw(log_probs.detach(), true_label, self.settings.sampling)
        return Padded(torch.stack(outputs, dim=1), previous.lengths)

    def initial_state(self, memory: Memory, n: int) -> State:
        core = {f"core.{name}": value for name, value in self.core.initial_state(n).items()}
        context = memory.values.new_zeros(n, memory.values.shape[2])
        return core | {"context": context, "weights": memory.first_weights(n)}

    def embed(self, labels: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.embedding(labels))
        return embedded

    def advance(self, embedded: Padded[Tensor], state: State, memory: Memory) -> tuple[Tensor, State]:
        """One label further: embedded (N, 1, E) -> what the output is read from (N, ``said_width``) and the state."""
        x = torch.cat([embedded.data, state["context"][:, None]], dim=-1)  # (N, 1, E + C)
        core = {name.removeprefix("core."): value for name, value in state.items() if name.startswith("core.")}
        y, core = self.core.step(Padded(x, embedded.lengths), core, last=False)
        query = y.data[:, 0]
        context, weights = self.attention(query, state["weights"], memory)
        new_state = {f"core.{name}": value for name, value in core.items()}
        return torch.cat([query, context], dim=-1), new_state | {"context": context, "weights": weights}

    def read_out(self, said: Tensor) -> Tensor:
        return F.log_softmax(self.output(said).float(), dim=-1)


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
    """How many labels and ends are the likeliest at their place, the true ones before them given."""
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


def _forced(speller: Speller, previous: Padded[Tensor]) -> Padded[Tensor]:
    """The true previous labels, whole texts at once."""
    return speller.step(previous, speller.initial_state(len(previous.lengths)), last=True)[0]


def _spell(speller: Speller, label: Tensor, state: State) -> tuple[Tensor, State]:
    """One label (N,) for every row -> log probabilities (N, V)."""
    log_probs, state = speller.step(Padded(label[:, None], torch.ones_like(label)), state, last=False)
    return log_probs.data[:, 0], state


def _draw(log_probs: Tensor, true_label: Tensor, probability: float) -> Tensor:
    """The true label, or with ``probability`` one drawn; a drawn end isn't fed: nothing ever follows it."""
    drawn = torch.multinomial(log_probs.exp(), 1)[:, 0]
    taken = (torch.rand(len(drawn), device=drawn.device) < probability) & (drawn != END)
    return torch.where(taken, drawn, true_label)


def _where(chosen: Tensor, new: State, old: State) -> State:
    return {name: torch.where(chosen[:, None], value, old[name]) for name, value in new.items()}
