"""A row that comes later: what a network may read that is to forecast the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recitative.stage import Padded, State


class Delay(nn.Module):
    """y[t] = x[t - frames], and zeros before a row's first frame: (N, T, C) -> (N, T, C).

    Its look-ahead is negative: output t knows nothing of the last ``frames`` inputs up to t.

    State: ``before`` (N, frames, C), the last frames that were heard.
    """

    stride = 1
    _like: Tensor

    def __init__(self, width: int, frames: int) -> None:
        """frames: at least 1."""
        super().__init__()
        self.input_width = self.output_width = width
        self.frames = frames
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    @property
    def lookahead(self) -> int:
        return -self.frames

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

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
