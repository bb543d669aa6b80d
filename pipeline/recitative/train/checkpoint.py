"""Checkpoints: everything a run needs to go on as if it had never stopped. Written atomically, read without pickle.

EXP/checkpoint/latest.pt           network, optimiser, progress
EXP/epochs/epoch-0012.safetensors  weights of the best epochs, for averaging
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recitative.atomic import replacing
from recitative.errors import DataError


@dataclass
class Progress:
    """Where a run stands. All of its state that isn't weights."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    step: int = 0  # optimiser steps tried, the skipped ones included
    skipped: int = 0  # steps with a NaN or infinite loss or gradient
    seconds: float = 0.0  # spent so far, over all starts
    epoch_loss: float = 0.0  # summed over this epoch
    epoch_count: int = 0
    bad_in_a_row: int = 0
    epochs_without_gain: int = 0
    finished: bool = False
    best: list[list[float]] = field(default_factory=list)  # [score, epoch], best first


class Checkpoints:
    """The checkpoints of one experiment folder."""

    def __init__(self, folder: Path) -> None:
        self.latest = folder / "checkpoint" / "latest.pt"
        self.epochs = folder / "epochs"

    def save(self, network: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
        content = {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "progress": asdict(progress),
        }
        with replacing(self.latest) as partial:
            torch.save(content, partial)

    def load(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> Progress | None:
        """Put a saved run's weights and optimiser state in place; None when there is no checkpoint.

        Raises DataError when the checkpoint is damaged or belongs to another network.
        """
        if not self.latest.exists():
            return None
        try:
            content: dict[str, Any] = torch.load(self.latest, map_location="cpu", weights_only=True)
            network.load_state_dict(content["network"])
            optimiser.load_state_dict(content["optimiser"])
            return Progress(**content["progress"])
        except Exception as error:  # torch.load raises whatever the broken bytes lead to
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                str(self.latest),
                f"cannot be resumed from ({reason})",
                "a checkpoint of this run's settings",
                "train into another folder, or remove this one to start again",
            ) from None

    def keep_epoch(self, network: nn.Module, progress: Progress, score: float, keep: int) -> bool:
        """Keep this epoch's weights if its score is among the ``keep`` best; True if it is the best so far."""
        ranked = sorted([*progress.best, [score, float(progress.epoch)]])[:keep]
        if [score, float(progress.epoch)] in ranked:
            weights = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
            with replacing(self.epoch_path(progress.epoch)) as partial:
                save_file(weights, partial)
        is_best = not progress.best or score < progress.best[0][0]
        progress.best = ranked
        return is_best

    def remove_dropped(self, progress: Progress) -> None:
        """Remove epochs that are no longer among the best. After the checkpoint that says so has been written."""
        kept = {self.epoch_path(int(epoch)) for _, epoch in progress.best}
        for path in self.epochs.glob("epoch-*.safetensors"):
            if path not in kept:
                path.unlink()

    def epoch_path(self, epoch: int) -> Path:
        return self.epochs / f"epoch-{epoch:04d}.safetensors"


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of several files of weights, summed in float64; integers are taken from the first."""
    files = [load_file(path) for path in paths]
    return {name: _mean([file[name] for file in files]) for name in files[0]}


def _mean(values: Sequence[Tensor]) -> Tensor:
    if not values[0].is_floating_point():
        return values[0]
    return torch.stack([value.double() for value in values]).mean(0).to(values[0].dtype)


def read_progress(folder: Path) -> Progress:
    """The progress of an experiment. Raises DataError if it has no checkpoint."""
    path = Checkpoints(folder).latest
    if not path.exists():
        raise DataError(str(folder), "has no checkpoint", "the folder of a training run", "run 'recitative train'")
    content: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return Progress(**content["progress"])
