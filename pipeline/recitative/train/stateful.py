"""The state of streams that training reads segment by segment: a part of the checkpoint."""

from __future__ import annotations

from torch import nn

from recitative.stage import State


class StreamingNetwork(nn.Module):
    """A network with the state of its streams beside it, so that a checkpoint holds both.

    Recomputing the state after an interruption would not give it back: the weights have moved since it was made.
    """

    def __init__(self, network: nn.Module, nothing_read: State) -> None:
        """``nothing_read`` is the state that all streams begin with."""
        super().__init__()
        self.network = network
        self._nothing_read = {name: value.clone() for name, value in nothing_read.items()}
        for number, value in enumerate(nothing_read.values()):
            self.register_buffer(f"carried{number}", value.clone())

    @property
    def carried(self) -> State:
        """A copy: what a step has read must stay as it was until its gradients are computed."""
        return {name: self.get_buffer(f"carried{i}").clone() for i, name in enumerate(self._nothing_read)}

    def carry(self, state: State) -> None:
        """Keep a state for the next segment; one with NaN or infinite numbers, from a step to be skipped, isn't."""
        if all(bool(value.isfinite().all()) for value in state.values()):
            for number, name in enumerate(self._nothing_read):
                self.get_buffer(f"carried{number}").copy_(state[name])

    def forget(self) -> None:
        """Back to the state of streams that have read nothing."""
        self.carry(self._nothing_read)
