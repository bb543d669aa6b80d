"""Train a model of frames of music from folders of pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from recitative.errors import Problem
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.music.filling import FillingTask, Puzzles
from recitative.music.network import new_music_model
from recitative.music.pieces import PieceStreams, read_pieces
from recitative.music.settings import MusicSettings
from recitative.music.task import MusicTask
from recitative.train.checkpoint import Progress
from recitative.train.distributed import lone_device
from recitative.train.experiment import claim, load_best
from recitative.train.log import Console
from recitative.train.loop import fit


@dataclass(frozen=True)
class TrainedMusicModel:
    """What came of a run: the model of its best epoch, in ``folder``."""

    folder: Path
    progress: Progress


@writes("folder")
def train_music_model(
    settings: MusicSettings,
    train: Path,
    dev: Path,
    folder: Path,
    *,
    quiet: bool = False,
    skip: Callable[[Problem], object] | None = None,
) -> TrainedMusicModel:
    """Train into ``folder``, or go on where a run with the same settings stopped; write ``folder/model``.

    skip: is told what is wrong with files that cannot be used; without it they are an error.
    Raises UsageError if the folder holds a run with other settings, and what reading and the loop raise.
    """
    device = lone_device(settings.train, "music train: pieces side by side are one worker's")
    pieces, dev_pieces = read_pieces(train, settings, skip), read_pieces(dev, settings, skip)
    digest = claim(folder, settings)
    torch.manual_seed(settings.train.seed)
    model = new_music_model(settings)
    task: MusicTask | FillingTask
    if model.fills:
        task = FillingTask(model, Puzzles(pieces, settings), dev_pieces, device)
    else:
        task = MusicTask(model, PieceStreams(pieces, settings), dev_pieces, device)
    progress = fit(task, settings.train, folder, device=device, console=Console(quiet=quiet), digest=digest)
    load_best(task.network, folder, progress)
    save_model(model, folder / "model")
    return TrainedMusicModel(folder / "model", progress)
