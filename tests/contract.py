"""The one contract every stage and every chain of stages keeps; see "The one protocol" in the design.

    verify_contract(stage, make_input)

checks, on ragged random batches:
 1. any cutting, with empty and one-item chunks, each row cut at its own places, equals one last step
 2. padding filled with NaN changes nothing, gradients included
 3. a row alone equals the row in a batch
 4. output_lengths equals what came out
 5. no output depends on inputs beyond stride * t + lookahead, and some output does on that very input
 6. step leaves its arguments alone, and a kept state can be stepped again
 7. gradients of the whole equal gradients through chunks
 8. a state survives saving and loading

NumPy stages are wrapped by ``AsTorch`` and go through the same checks, less the gradients.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recitative.errors import UsageError
from recitative.stage import Padded, State

MakeInput = Callable[[tuple[int, ...], torch.Generator], Tensor]


class AsTorch:
    """A NumPy stage seen as a PyTorch stage."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.stride: int = stage.stride
        self.lookahead: int | None = stage.lookahead

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.stage.output_lengths(lengths.numpy())))

    def initial_state(self, n: int) -> State:
        return {key: torch.from_numpy(np.asarray(value)) for key, value in self.stage.initial_state(n).items()}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        arrays = {key: value.numpy() for key, value in state.items()}
        y, new = self.stage.step(Padded(x.data.numpy(), x.lengths.numpy()), arrays, last=last)
        return (
            Padded(torch.from_numpy(np.asarray(y.data)), torch.from_numpy(np.asarray(y.lengths))),
            {key: torch.from_numpy(np.asarray(value)) for key, value in new.items()},
        )


def verify_contract(
    stage: Any,
    make_input: MakeInput,
    *,
    longest: int = 40,
    rows: int = 4,
    cuttings: int = 5,
    seed: int = 0,
    atol: float = 1e-5,  # float32 sums in another order; measured differences are below 1e-6
    gradients: bool = True,
    slack: int = 0,
) -> None:
    """Assert all eight points. ``make_input(shape (N, T), generator)`` gives (N, T, ...) inputs.

    atol:  0 asks for the same bits.
    slack: the last inputs within the look-ahead whose weight is too small to notice (Povey's window ends at zero).
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = _ragged_lengths(rows, longest, generator)
    x = Padded(make_input((rows, longest), generator), lengths)
    with torch.no_grad():
        whole = _whole(stage, x)
        _check_lengths(stage, x, whole)
        _check_padding(stage, x, whole, atol)
        _check_rows_alone(stage, x, whole, atol)
        _check_arguments_untouched(stage, x)
        _check_lookahead(stage, x, atol, slack)
        if stage.lookahead is None:
            _check_pieces_are_refused(stage, x)
        else:
            for _ in range(cuttings):
                _assert_rows_equal(_in_chunks(stage, x, generator), whole, atol)
            _check_single_items(stage, x, whole, atol)
            _check_empty_last(stage, x, whole, atol)
            _check_state_is_a_value(stage, x, whole, atol)
    if gradients:
        _check_gradients(stage, x, generator, atol)


def _ragged_lengths(rows: int, longest: int, generator: torch.Generator) -> Tensor:
    lengths = torch.randint(1, longest + 1, (rows,), generator=generator)
    lengths[0] = longest
    if rows > 2:
        lengths[-1] = 0  # a row without a single frame
    return lengths


def _whole(stage: Any, x: Padded[Tensor]) -> Padded[Tensor]:
    return stage.step(x, stage.initial_state(len(x.lengths)), last=True)[0]


def _rows(y: Padded[Tensor]) -> list[Tensor]:
    return [row[: int(n)] for row, n in zip(y.data, y.lengths, strict=True)]


def _assert_rows_equal(y: Padded[Tensor], expected: Padded[Tensor], atol: float) -> None:
    assert y.lengths.tolist() == expected.lengths.tolist()
    for row, expected_row in zip(_rows(y), _rows(expected), strict=True):
        assert_close(row, expected_row, atol=atol, rtol=1e-5 if atol else 0.0)


def _cuts(x: Padded[Tensor], generator: torch.Generator) -> Iterator[tuple[Padded[Tensor], bool]]:
    """Random chunks, each row advancing by its own amount, zero and one among them; the last chunk is last."""
    done = torch.zeros_like(x.lengths)
    while bool((done < x.lengths).any()):
        most = int(torch.tensor([1, 2, 5, 17])[torch.randint(0, 4, (), generator=generator)])
        amount = torch.randint(0, most + 1, done.shape, generator=generator)
        amount = torch.minimum(amount, x.lengths - done)
        yield _slice(x, done, amount), False
        done = done + amount
        if bool(torch.randint(0, 4, (), generator=generator) == 0):
            break
    yield _slice(x, done, x.lengths - done), True


def _slice(x: Padded[Tensor], start: Tensor, amount: Tensor) -> Padded[Tensor]:
    size = int(amount.max())
    pieces = x.data.new_full((len(amount), size, *x.data.shape[2:]), float("nan") if x.data.is_floating_point() else 0)
    rows = [
        torch.cat([x.data[i, int(s) : int(s + a)], pieces[i, int(a) :]])
        for i, (s, a) in enumerate(zip(start, amount, strict=True))
    ]
    return Padded(torch.stack(rows), amount)


def _run(stage: Any, chunks: Iterator[tuple[Padded[Tensor], bool]], rows: int) -> Padded[Tensor]:
    state = stage.initial_state(rows)
    outputs: list[list[Tensor]] = [[] for _ in range(rows)]
    for chunk, last in chunks:
        y, state = stage.step(chunk, state, last=last)
        for kept, row in zip(outputs, _rows(y), strict=True):
            kept.append(row)
    joined = [torch.cat(kept) for kept in outputs]
    return Padded(torch.nn.utils.rnn.pad_sequence(joined, batch_first=True), torch.tensor([len(j) for j in joined]))


def _in_chunks(stage: Any, x: Padded[Tensor], generator: torch.Generator) -> Padded[Tensor]:
    return _run(stage, _cuts(x, generator), len(x.lengths))


def _check_single_items(stage: Any, x: Padded[Tensor], whole: Padded[Tensor], atol: float) -> None:
    def items() -> Iterator[tuple[Padded[Tensor], bool]]:
        for t in range(x.data.shape[1]):
            start = torch.full_like(x.lengths, t)
            amount = (x.lengths - start).clamp(0, 1)
            yield _slice(x, start, amount), t + 1 == x.data.shape[1]

    _assert_rows_equal(_run(stage, items(), len(x.lengths)), whole, atol)


def _check_empty_last(stage: Any, x: Padded[Tensor], whole: Padded[Tensor], atol: float) -> None:
    nothing = torch.zeros_like(x.lengths)
    chunks = [(_slice(x, nothing, nothing), False), (x, False), (_slice(x, x.lengths, nothing), True)]
    _assert_rows_equal(_run(stage, iter(chunks), len(x.lengths)), whole, atol)


def _check_lengths(stage: Any, x: Padded[Tensor], whole: Padded[Tensor]) -> None:
    assert stage.output_lengths(x.lengths).tolist() == whole.lengths.tolist()
    assert whole.data.shape[1] >= int(whole.lengths.max())
    assert bool(torch.cat(_rows(whole)).isfinite().all()), "an output within a row is NaN or infinite"


def _check_padding(stage: Any, x: Padded[Tensor], whole: Padded[Tensor], atol: float) -> None:
    if x.data.is_floating_point():
        _assert_rows_equal(_whole(stage, _with_nan_padding(x)), whole, atol)


def _with_nan_padding(x: Padded[Tensor]) -> Padded[Tensor]:
    data = x.data.detach().clone()
    for row, n in zip(data, x.lengths, strict=True):
        row[int(n) :] = float("nan")
    return Padded(data, x.lengths)


def _check_rows_alone(stage: Any, x: Padded[Tensor], whole: Padded[Tensor], atol: float) -> None:
    for i, n in enumerate(x.lengths):
        alone = _whole(stage, Padded(x.data[i : i + 1, : int(n)], x.lengths[i : i + 1]))
        assert_close(_rows(alone)[0], _rows(whole)[i], atol=atol, rtol=1e-5 if atol else 0.0)


def _check_arguments_untouched(stage: Any, x: Padded[Tensor]) -> None:
    state = stage.initial_state(len(x.lengths))
    if stage.lookahead is not None:  # a state that has heard something is the harder case
        _, state = stage.step(x, state, last=False)
    kept, kept_x = {key: value.clone() for key, value in state.items()}, x.data.clone()
    first, _ = stage.step(x, state, last=True)
    assert_close(x.data, kept_x, atol=0, rtol=0)
    for key, value in state.items():
        assert_close(value, kept[key], atol=0, rtol=0)
    _assert_rows_equal(stage.step(x, state, last=True)[0], first, atol=0)


def _check_pieces_are_refused(stage: Any, x: Padded[Tensor]) -> None:
    with pytest.raises(UsageError, match="needs the whole"):
        stage.step(x, stage.initial_state(len(x.lengths)), last=False)


def _check_state_is_a_value(stage: Any, x: Padded[Tensor], whole: Padded[Tensor], atol: float) -> None:
    half = x.lengths // 2
    head, state = stage.step(_slice(x, torch.zeros_like(half), half), stage.initial_state(len(half)), last=False)
    saved = io.BytesIO()
    torch.save(state, saved)
    saved.seek(0)
    loaded = torch.load(saved, weights_only=True)
    tail, _ = stage.step(_slice(x, half, x.lengths - half), loaded, last=True)
    joined = [torch.cat(pair) for pair in zip(_rows(head), _rows(tail), strict=True)]
    padded = torch.nn.utils.rnn.pad_sequence(joined, batch_first=True)
    _assert_rows_equal(Padded(padded, torch.tensor([len(j) for j in joined])), whole, atol)


def _check_lookahead(stage: Any, x: Padded[Tensor], atol: float, slack: int) -> None:
    """Point 5 by perturbation: change input s, and only outputs that may hear it change."""
    if stage.lookahead is None:
        return
    before = _rows(_whole(stage, Padded(x.data[:1], x.lengths[:1])))[0]
    inputs = x.data.shape[1]
    data = x.data[:1].repeat(inputs, *[1] * (x.data.dim() - 1))  # row s is the input with item s changed
    for s in range(inputs):
        data[s, s] = data[s, s] * -0.5 + 0.25 if data.is_floating_point() else (data[s, s] + 1) % 2
    after = torch.stack(_rows(_whole(stage, Padded(data, x.lengths[:1].repeat(inputs)))))  # (inputs, outputs, ...)
    noticeable = 0.1 * atol * max(1.0, float(before.abs().max()))
    changed = ((after - before).abs() > noticeable).reshape(inputs, len(before), -1).any(-1)
    reach = torch.tensor([int(j * stage.stride) for j in range(len(before))]) + stage.lookahead
    beyond = (changed & (torch.arange(inputs)[:, None] > reach)).nonzero()
    assert len(beyond) == 0, f"output {int(beyond[0, 1])} hears input {int(beyond[0, 0])}, beyond its reach"
    tight = bool((changed & (torch.arange(inputs)[:, None] >= reach - slack)).any())
    assert tight, f"no output depends on its last allowed input: lookahead {stage.lookahead} is too large"


def _check_gradients(stage: Any, x: Padded[Tensor], generator: torch.Generator, atol: float) -> None:
    x = _with_nan_padding(x)
    weight_seed = int(torch.randint(0, 1 << 30, (), generator=generator))
    whole = _gradients(stage, x, lambda data: _whole(stage, Padded(data, x.lengths)), weight_seed)
    for gradient in whole.values():
        assert bool(gradient.isfinite().all()), "NaN padding reached a gradient"
    if stage.lookahead is not None:
        chunked = _gradients(stage, x, lambda data: _in_chunks(stage, Padded(data, x.lengths), generator), weight_seed)
        for name, gradient in whole.items():
            scale = float(gradient.abs().max()) or 1.0
            assert_close(chunked[name], gradient, atol=10 * atol * max(scale, 1.0), rtol=1e-4)


def _gradients(
    stage: Any, x: Padded[Tensor], run: Callable[[Tensor], Padded[Tensor]], weight_seed: int
) -> dict[str, Tensor]:
    """Gradients of a random weighting of all outputs with respect to the inputs and every parameter."""
    data = x.data.clone().requires_grad_(True)
    stage.zero_grad(set_to_none=True)
    generator = torch.Generator().manual_seed(weight_seed)
    total = torch.zeros(())
    for row in _rows(run(data)):
        total = total + (row * torch.randn(row.shape, generator=generator)).sum()
    total.backward()
    assert data.grad is not None
    return {"input": data.grad} | {name: p.grad for name, p in stage.named_parameters() if p.grad is not None}
