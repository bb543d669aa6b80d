"""The folder of a run: whose it is, and the weights of its best epoch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel
from safetensors.torch import load_file
from torch import nn

from recitative.atomic import update_text
from recitative.config import dump_settings, load_tree
from recitative.errors import UsageError
from recitative.train.checkpoint import Checkpoints, Progress


def claim(folder: Path, settings: BaseModel) -> str:
    """Write the run's settings, or check that those of an earlier start are the same; give their digest.

    Raises UsageError if they are others.
    """
    path = folder / "settings.yaml"
    if holds_settings(folder) and load_tree(type(settings), path) != settings:
        raise UsageError(f"{folder}: holds a run with other settings ({path}); train into another folder, or remove it")
    mark = digest(settings)
    Checkpoints(folder, mark).progress()  # it is refused before anything is written
    update_text(path, dump_settings(settings))
    return mark


def holds_settings(folder: Path) -> bool:
    """Whether a run in this folder can be resumed and says of which settings it is; its checkpoint has a digest too."""
    path = folder / "settings.yaml"
    return Checkpoints(folder).latest.exists() and path.exists() and path.stat().st_size > 0


def digest(settings: BaseModel, *texts: str) -> str:
    """SHA-256 of the settings that aren't the usual ones, so that new ones change nothing, and of texts."""
    chosen = settings.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps([chosen, *texts], sort_keys=True).encode("utf-8")).hexdigest()


def load_best(network: nn.Module, folder: Path, progress: Progress) -> None:
    """Give the network that was trained the weights of its best epoch, in evaluation mode."""
    best_epoch = int(progress.best[0][1])
    network.load_state_dict(load_file(Checkpoints(folder).epoch_path(best_epoch)))
    network.eval()
