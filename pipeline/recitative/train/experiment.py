"""The folder of a run: whose it is, and the weights of its best epoch."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel
from safetensors.torch import load_file
from torch import nn

from recitative.config import dump_settings, load_tree
from recitative.errors import UsageError
from recitative.train.checkpoint import Checkpoints, Progress


def claim(folder: Path, settings: BaseModel) -> None:
    """Write the run's settings, or check that those of an earlier start are the same. Raises UsageError if not."""
    path = folder / "settings.yaml"
    if (folder / "checkpoint" / "latest.pt").exists() and load_tree(type(settings), path) != settings:
        raise UsageError(f"{folder}: holds a run with other settings ({path}); train into another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_settings(settings), encoding="utf-8")


def load_best(network: nn.Module, folder: Path, progress: Progress) -> None:
    """Give the network that was trained the weights of its best epoch, in evaluation mode."""
    best_epoch = int(progress.best[0][1])
    network.load_state_dict(load_file(Checkpoints(folder).epoch_path(best_epoch)))
    network.eval()
