"""Opening a music model that a user names: a folder runs on PyTorch, a file on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from recitative.errors import UsageError
from recitative.models.composer import Scorer
from recitative.models.event_composer import EventScorer
from recitative.models.music_card import REMEDY
from recitative.models.music_kind import EVENTS, folder_kind


def is_of_events(path: Path) -> bool:
    """Whether a model writes events; else it writes frames of voices. Raises DataError for what is no model."""
    from recitative.runtime.session import file_kind

    kind = folder_kind(path) if path.is_dir() else file_kind(path, "music model's file", REMEDY)
    return kind == EVENTS


def open_events(path: Path) -> EventScorer:
    """Raises DataError for what is no model of events."""
    if path.is_dir():
        from recitative.generation.events_network import TorchEvents
        from recitative.models.events import load_events_model

        return TorchEvents(load_events_model(path))
    from recitative.runtime.events import OnnxEvents

    return OnnxEvents(path)


def open_composer(path: Path, *, fills: bool) -> Scorer:
    """Raises DataError for what is no model of voices, UsageError for one that does not do the work."""
    scorer: Scorer
    if path.is_dir():
        from recitative.generation.music_network import TorchMusic
        from recitative.models.music import load_music_model

        scorer = TorchMusic(load_music_model(path))
    else:
        from recitative.runtime.music import OnnxMusic

        scorer = OnnxMusic(path)
    if scorer.fills != fills:
        does = "fills music in: use it with --harmonise or --rewrite" if scorer.fills else "only continues music"
        raise UsageError(f"{path}: {does}")
    return scorer
