"""Batches of sequences of unequal lengths, and their states: mask, join, cut and reverse each row at its own length.

Padding is undefined, so it is replaced (``torch.where``), never multiplied: 0 * NaN is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recitative.stage import Padded, State


def pad_features(rows: Sequence[npt.NDArray[np.floating]], width: int) -> Padded[Tensor]:
    """Features (T, width) of zero or more utterances as a padded batch (N, T, width)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    data = torch.zeros(len(rows), int(lengths.max()) if rows else 0, width)
    for i, row in enumerate(rows):
        data[i, : len(row)] = torch.from_numpy(row)
    return Padded(data, lengths)


def to_device(x: Padded[Tensor], device: torch.device) -> Padded[Tensor]:
    return Padded(x.data.to(device, non_blocking=True), x.lengths.to(device, non_blocking=True))


def select_rows(x: Padded[Tensor], rows: Tensor) -> Padded[Tensor]:
    """The rows with these numbers (N',), at least one, cut to the longest of them."""
    lengths = x.lengths[rows]
    return Padded(x.data[rows][:, : int(lengths.max())], lengths)


def last_frames(x: Padded[Tensor]) -> Tensor:
    """(N, T, C) -> (N, C), the last frame of each row; every row must have one."""
    return x.data[torch.arange(len(x.lengths), device=x.data.device), x.lengths - 1]


def valid_mask(x: Padded[Tensor]) -> Tensor:
    """(N, T), True for frames within their row."""
    return torch.arange(x.data.shape[1], device=x.data.device) < x.lengths[:, None]


def zero_padding(x: Padded[Tensor]) -> Tensor:
    """(N, T, C) with zeros beyond each row's length; the data itself if all rows are full."""
    if is_full(x):
        return x.data
    return torch.where(valid_mask(x)[..., None], x.data, x.data.new_zeros(()))


def is_full(x: Padded[Tensor]) -> bool:
    """Whether every row has the full length T."""
    return bool((x.lengths == x.data.shape[1]).all())


def cut(x: Padded[Tensor], start: Tensor, lengths: Tensor) -> Padded[Tensor]:
    """Each row's frames [start, start + lengths), both (N,) and within the row."""
    size = int(lengths.max()) if len(lengths) else 0
    index = start[:, None] + torch.arange(size, device=x.data.device)  # (N, size)
    return Padded(_gather(x.data, index), lengths)


def join(a: Padded[Tensor], b: Padded[Tensor]) -> Padded[Tensor]:
    """Each row of ``a`` followed directly by the same row of ``b``."""
    lengths = a.lengths + b.lengths
    size = int(lengths.max()) if len(lengths) else 0
    if is_full(a):  # such as at the start of a stream: no frame moves
        return Padded(torch.cat([a.data, b.data], dim=1)[:, :size], lengths)
    position = torch.arange(size, device=a.data.device).expand(len(lengths), size)  # (N, size)
    in_a = position < a.lengths[:, None]
    from_a = _gather(a.data, position)
    from_b = _gather(b.data, position - a.lengths[:, None])
    return Padded(torch.where(in_a[..., None], from_a, from_b), lengths)


def reverse(x: Padded[Tensor]) -> Padded[Tensor]:
    """Each row reversed within its own length; padding stays in place."""
    rows, frames = x.data.shape[:2]
    position = torch.arange(frames, device=x.data.device).expand(rows, frames)
    backwards = x.lengths[:, None] - 1 - position
    within = torch.where(backwards >= 0, backwards, position)
    order = within + frames * torch.arange(rows, device=x.data.device)[:, None]  # of all N * T frames
    data: Tensor = _Swap.apply(x.data.flatten(0, 1), order.flatten())  # type: ignore[no-untyped-call]
    return Padded(data.view_as(x.data), x.lengths)


class _Swap(torch.autograd.Function):
    """Rows (R, C) in an order that is its own inverse: the gradient is the same selection, twice as fast as the general
    one, which adds up."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return data.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, *ctx.saved_tensors), None


def take_valid(x: Padded[Tensor]) -> Tensor:
    """The valid frames of all rows, concatenated: (N, T, ...) -> (M, ...)."""
    if is_full(x):
        return x.data.flatten(0, 1)
    frames: Tensor = _Take.apply(x.data.flatten(0, 1), _places(x))  # type: ignore[no-untyped-call]
    return frames


def put_valid(frames: Tensor, x: Padded[Tensor]) -> Tensor:
    """The inverse: (M, ...) to the valid frames of a batch like ``x`` (N, T, ...), with zeros as padding."""
    rows, most = x.data.shape[:2]
    if not is_full(x):
        frames = _Put.apply(frames, _places(x), rows * most)  # type: ignore[no-untyped-call]
    return frames.view(rows, most, *frames.shape[1:])


def _places(x: Padded[Tensor]) -> Tensor:
    """Positions (M,) of the valid frames among all N * T."""
    return valid_mask(x).flatten().nonzero().squeeze(1)


class _Take(torch.autograd.Function):
    """Frames (R, ...) at distinct places (M,): the gradient is written, several times as fast as the general one, which
    adds up."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.rows = len(data)
        return data.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _scattered(gradient, places, ctx.rows), None


class _Put(torch.autograd.Function):
    """The inverse of ``_Take``."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, places: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(places)
        return _scattered(frames, places, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, *ctx.saved_tensors), None, None


def _scattered(frames: Tensor, places: Tensor, rows: int) -> Tensor:
    return frames.new_zeros(rows, *frames.shape[1:]).index_copy_(0, places, frames)


def empty(like: Tensor, n: int, channels: int) -> Padded[Tensor]:
    """``n`` rows without frames, with the type and device of ``like``."""
    return Padded(like.new_zeros(n, 0, channels), torch.zeros(n, dtype=torch.int64, device=like.device))


def _gather(data: Tensor, index: Tensor) -> Tensor:
    """data[n, index[n, t]] for (N, T, C) data; an index outside the data gives an undefined frame."""
    if data.shape[1] == 0:
        return data.new_zeros(*index.shape, data.shape[2])
    index = index.clamp(0, data.shape[1] - 1)
    return data.gather(1, index[..., None].expand(*index.shape, data.shape[2]))


def detach(state: State) -> State:
    """A state without its gradient history, for truncated back-propagation through time."""
    return {key: value.detach() for key, value in state.items()}


def select(state: State, rows: Sequence[int] | Tensor) -> State:
    """The states of some rows, in the given order; rows may be repeated."""
    index = torch.as_tensor(rows, dtype=torch.int64)
    return {key: value[index.to(value.device)] for key, value in state.items()}


def cat(states: Sequence[State]) -> State:
    """Concatenate the states of several batches; pending frames are padded to the longest."""
    return {key: _cat([state[key] for state in states]) for key in states[0]}


def _cat(values: Sequence[Tensor]) -> Tensor:
    if values[0].dim() == 3:  # (N, P, C): batches differ in their pending frames
        longest = max(value.shape[1] for value in values)
        values = [torch.nn.functional.pad(value, (0, 0, 0, longest - value.shape[1])) for value in values]
    return torch.cat(list(values))
