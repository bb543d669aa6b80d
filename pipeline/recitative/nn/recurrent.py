"""The recurrent core, the only recurrent code of this project.

Recognition, language models, music and sound all run on ``RecurrentStack``. A layer computes

    y = x' + dropout(norm(project(cell(x))))          x' = x where residual and the widths agree, else 0

with cell one of simple RNN (tanh or relu; Elman 1990), LSTM (Hochreiter & Schmidhuber 1997, with forget gates) and GRU
(Cho et al. 2014), in one of three directions:

    forward             reads left to right; state is each layer's h (and c)
    bidirectional       adds a second cell that reads right to left (Schuster & Paliwal 1997); needs the whole input
    latency_controlled  bidirectional within blocks of ``chunk`` frames followed by ``right_context`` frames (Zhang et
                        al. 2016): the forward cells carry their state from block to block, the backward cells start
                        anew at the end of the right context, so the look-ahead is finite whatever the depth

The projection is linear and outside the recurrence (BLSTMP as in ESPnet), unlike Sak et al. 2014, so that every cell
can have one.

Rows are never packed when the final state isn't asked for: a forward cell cannot see the padding behind a row, and a
backward cell reads the row reversed within its own length. On a CPU this is three times as fast as packing, since
oneDNN's fused cells accept only unpacked input.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from recitative.config import RecurrentSettings
from recitative.errors import UsageError
from recitative.nn.ragged import cut, empty, is_full, join, reverse, zero_padding
from recitative.stage import Padded, State

CellState = tuple[Tensor, ...]  # (h,) or (h, c), each (N, H)


class RecurrentStack(nn.Module):
    """Layers of recurrent cells as one stage: (N, T, input_width) -> (N, T, output_width).

    State: ``layer{i}.h`` (and ``layer{i}.c`` for an LSTM), (N, H), of the forward cells; when latency-controlled also
    ``pending`` (N, P, input_width) with ``pending_lengths`` (N,), the frames not yet processed. Empty when
    bidirectional.

    Raises UsageError if a bidirectional stack is stepped in chunks.
    """

    stride = 1

    def __init__(self, input_width: int, settings: RecurrentSettings) -> None:
        super().__init__()
        self.settings = settings
        self.input_width = input_width
        layers, width = [], input_width
        for _ in range(settings.layers):
            layers.append(_Layer(width, settings))
            width = layers[-1].output_width
        self.layers = nn.ModuleList(layers)
        self.recompute = False  # in training: store only layers' inputs, and recompute the rest for gradients
        self.output_width = width

    def _layers(self) -> list[_Layer]:
        return cast("list[_Layer]", list(self.layers))

    @property
    def lookahead(self) -> int | None:
        match self.settings.direction:
            case "forward":
                return 0
            case "bidirectional":
                return None
            case "latency_controlled":
                return self.settings.chunk - 1 + self.settings.right_context

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        if self.settings.direction == "bidirectional":
            return {}
        state: State = {}
        for i, layer in enumerate(self._layers()):
            _store(state, i, layer.initial_state(n))
        if self.settings.direction == "latency_controlled":
            pending = empty(next(self.parameters()), n, self.input_width)
            state |= {"pending": pending.data, "pending_lengths": pending.lengths}
        return state

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        match self.settings.direction:
            case "forward":
                y, new_state = self._through_layers(x, state, None if last else x.lengths)
            case "bidirectional":
                if not last:
                    raise UsageError(
                        "a bidirectional core needs the whole input at once, not chunks; for "
                        "streaming set model.recurrent.direction to 'forward' or 'latency_controlled' and train again"
                    )
                y, new_state = self._through_layers(x, state, None)
            case "latency_controlled":
                y, new_state = self._in_blocks(x, state, last=last)
        return y, self.initial_state(len(x.lengths)) if last else new_state

    def _through_layers(self, x: Padded[Tensor], state: State, carry: Tensor | None) -> tuple[Padded[Tensor], State]:
        """One block through all layers; forward states advance over ``carry`` (N,) frames, None = not needed."""
        new_state: State = {}
        for i, layer in enumerate(self._layers()):
            x, cell_state = self._run(layer, x, _load(state, i), carry)
            _store(new_state, i, cell_state)
        return x, new_state

    def _run(
        self, layer: _Layer, x: Padded[Tensor], state: CellState | None, carry: Tensor | None
    ) -> tuple[Padded[Tensor], CellState]:
        if not (self.recompute and self.training):
            return layer.run(x, state, carry)
        # Chen et al. 2016; the second run has the same dropout masks as the first.
        result: tuple[Padded[Tensor], CellState] = checkpoint(layer.run, x, state, carry, use_reentrant=False)
        return result

    def _in_blocks(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        """Process block after block, on a grid from the first frame on: the result does not depend on chunks."""
        chunk, block = self.settings.chunk, self.settings.chunk + self.settings.right_context
        heard = join(Padded(state["pending"], state["pending_lengths"]), x)
        y = empty(heard.data, len(x.lengths), self.output_width)
        while bool((ready := self._ready(heard.lengths, block, last=last)).any()):
            taken = torch.where(ready, heard.lengths.clamp(max=block), 0)
            decided = taken.clamp(max=chunk)
            out, new_state = self._through_layers(cut(heard, torch.zeros_like(taken), taken), state, decided)
            y = join(y, Padded(out.data, decided))
            heard = cut(heard, decided, heard.lengths - decided)
            state = state | new_state
        return y, state | {"pending": heard.data, "pending_lengths": heard.lengths}

    @staticmethod
    def _ready(lengths: Tensor, block: int, *, last: bool) -> Tensor:
        return lengths > 0 if last else lengths >= block


class _Layer(nn.Module):
    """A cell or a pair of opposite cells, then projection, normalization, dropout and residual."""

    def __init__(self, input_width: int, settings: RecurrentSettings) -> None:
        super().__init__()
        self.forward_cell = _Cell(input_width, settings)
        two_ways = settings.direction != "forward"
        self.backward_cell = _Cell(input_width, settings) if two_ways else None
        cell_width = settings.hidden * (2 if two_ways else 1)
        self.output_width = settings.projection or cell_width
        self.project = nn.Linear(cell_width, settings.projection) if settings.projection else nn.Identity()
        self.norm = nn.LayerNorm(self.output_width) if settings.layer_norm else nn.Identity()
        self.dropout = nn.Dropout(settings.dropout)
        self.residual = settings.residual and self.output_width == input_width

    def initial_state(self, n: int) -> CellState:
        return self.forward_cell.initial_state(n)

    def run(self, x: Padded[Tensor], state: CellState | None, carry: Tensor | None) -> tuple[Padded[Tensor], CellState]:
        x = Padded(zero_padding(x), x.lengths)
        y, new_state = self._left_to_right(x, state, carry)
        if self.backward_cell is not None:
            backwards, _ = self.backward_cell.run(reverse(x), None, final_state=False)
            y = torch.cat([y, reverse(Padded(backwards, x.lengths)).data], dim=-1)
        y = self.dropout(self.norm(self.project(y)))
        return Padded(x.data + y if self.residual else y, x.lengths), new_state

    def _left_to_right(
        self, x: Padded[Tensor], state: CellState | None, carry: Tensor | None
    ) -> tuple[Tensor, CellState]:
        """Run the forward cell; its returned state is that after ``carry`` frames of each row."""
        if carry is None or torch.equal(carry, x.lengths):
            return self.forward_cell.run(x, state, final_state=carry is not None)
        kept, new_state = self.forward_cell.run(cut(x, torch.zeros_like(carry), carry), state, final_state=True)
        beyond = cut(x, carry, x.lengths - carry)
        tail, _ = self.forward_cell.run(beyond, new_state, final_state=False)
        return join(Padded(kept, carry), Padded(tail, beyond.lengths)).data, new_state


class _Cell(nn.Module):
    """One recurrent layer in one direction over ragged rows."""

    def __init__(self, input_width: int, settings: RecurrentSettings) -> None:
        super().__init__()
        match settings.cell:
            case "lstm":
                self.rnn: nn.RNNBase = nn.LSTM(input_width, settings.hidden, batch_first=True)
                _init_forget_gate(self.rnn)
            case "gru":
                self.rnn = nn.GRU(input_width, settings.hidden, batch_first=True)
            case "rnn_tanh":
                self.rnn = nn.RNN(input_width, settings.hidden, batch_first=True, nonlinearity="tanh")
            case "rnn_relu":
                self.rnn = nn.RNN(input_width, settings.hidden, batch_first=True, nonlinearity="relu")
                nn.init.eye_(_recurrent_weight(self.rnn))  # Le et al. 2015: gradients neither explode nor vanish

    def initial_state(self, n: int) -> CellState:
        zeros = _recurrent_weight(self.rnn).new_zeros(n, self.rnn.hidden_size)
        return (zeros, zeros.clone()) if isinstance(self.rnn, nn.LSTM) else (zeros,)

    def run(self, x: Padded[Tensor], state: CellState | None, *, final_state: bool) -> tuple[Tensor, CellState]:
        """(N, T, C) -> (N, T, H) and each row's state at its own end, or the given state if not ``final_state``.

        The padding of ``x`` must be finite; outputs there are undefined.
        """
        state = self.initial_state(x.data.shape[0]) if state is None else state
        if x.data.shape[1] == 0 or x.data.shape[0] == 0:
            return x.data.new_zeros(*x.data.shape[:2], self.rnn.hidden_size), state
        if final_state and not is_full(x):
            return self._packed(x, state)
        y: Tensor
        y, new_state = self.rnn(x.data, self._to_torch(state))
        return y, self._from_torch(new_state)

    def _packed(self, x: Padded[Tensor], state: CellState) -> tuple[Tensor, CellState]:
        """Exact final states of unequal rows; rows with nothing new keep their state (packing refuses them)."""
        rows = x.lengths.nonzero()[:, 0]
        y = x.data.new_zeros(*x.data.shape[:2], self.rnn.hidden_size)
        if len(rows) == 0:
            return y, state
        packed = pack_padded_sequence(x.data[rows], x.lengths[rows].cpu(), batch_first=True, enforce_sorted=False)
        out, new_state = self.rnn(packed, self._to_torch(tuple(s[rows] for s in state)))
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=x.data.shape[1])
        advanced = zip(state, self._from_torch(new_state), strict=True)
        return y.index_copy(0, rows, out), tuple(old.index_copy(0, rows, new) for old, new in advanced)

    @staticmethod
    def _to_torch(state: CellState) -> Tensor | tuple[Tensor, Tensor]:
        # (N, H) -> (1, N, H), one direction of one layer
        first, *rest = (s[None].contiguous() for s in state)
        return (first, rest[0]) if rest else first

    @staticmethod
    def _from_torch(state: Tensor | tuple[Tensor, Tensor]) -> CellState:
        return tuple(s[0] for s in state) if isinstance(state, tuple) else (state[0],)


def _recurrent_weight(rnn: nn.RNNBase) -> nn.Parameter:
    return rnn.get_parameter("weight_hh_l0")


def _init_forget_gate(lstm: nn.LSTM) -> None:
    """Forget-gate bias 1 (Jozefowicz et al. 2015): gradients flow through time from the start."""
    with torch.no_grad():
        hidden = lstm.hidden_size
        lstm.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 1.0
        lstm.get_parameter("bias_hh_l0")[hidden : 2 * hidden] = 0.0


def _store(state: State, layer: int, cell_state: CellState) -> None:
    state.update({f"layer{layer}.{name}": value for name, value in zip("hc", cell_state, strict=False)})


def _load(state: State, layer: int) -> CellState | None:
    names = [f"layer{layer}.h", f"layer{layer}.c"]
    return tuple(state[name] for name in names if name in state) or None
