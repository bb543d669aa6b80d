"""Train a model of events from folders of pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from recitative.errors import Problem
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.music.event_network import new_events_model
from recitative.music.event_pieces import EventPieces, read_event_pieces
from recitative.music.event_settings import EventsSettings
from recitative.music.event_streams import event_streams
from recitative.music.event_task import EventsTask
from recitative.train.checkpoint import Progress
from recitative.train.distributed import lone_device
from recitative.train.experiment import claim, load_best
from recitative.train.log import Console
from recitative.train.loop import fit


@dataclass(frozen=True)
class TrainedEventsModel:
    """What came of a run: the model of its best epoch, in ``folder``, and what of the training set was ``cut``."""

    folder: Path
    progress: Progress
    train: EventPieces


@writes("folder")
def train_events_model(
    settings: EventsSettings,
    train: Path,
    dev: Path,
    folder: Path,
    *,
    quiet: bool = False,
    skip: Callable[[Problem], object] | None = None,
) -> TrainedEventsModel:
    """Train into ``folder``, or go on where a run with the same settings stopped; write ``folder/model``.

    skip: is told what is wrong with files that cannot be used; without it they are an error.
    Raises UsageError if the folder holds a run with other settings, and what reading and the loop raise.
    """
    device = lone_device(settings.train, "music train: the streams of pieces are one worker's")
    material, dev_material = (read_event_pieces(path, settings.events, skip) for path in (train, dev))
    digest = claim(folder, settings)
    torch.manual_seed(settings.train.seed)
    model = new_events_model(settings)
    task = EventsTask(model, event_streams(material.pieces, settings), dev_material.pieces, device)
    progress = fit(task, settings.train, folder, device=device, console=Console(quiet=quiet), digest=digest)
    load_best(task.network, folder, progress)
    save_model(model, folder / "model")
    return TrainedEventsModel(folder / "model", progress, material)
