"""Which kind a music model is: of frames in voices, or of events. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recitative.config import load_tree
from recitative.models.events_settings import EventsSettings
from recitative.models.kind import kind_of_folder, kind_of_settings
from recitative.models.music_settings import MusicSettings

AnyMusicSettings = MusicSettings | EventsSettings

MUSIC, EVENTS = "music", "events"
KINDS = f"'{MUSIC}' (notes in voices, frame by frame) or '{EVENTS}' (any notes, one after another)"


def load_music_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> AnyMusicSettings:
    """As ``load_tree``, of the kind that the file names. Raises UsageError for another kind as well."""
    if kind_of_settings(path, overrides, (MUSIC, EVENTS), KINDS) == MUSIC:
        return load_tree(MusicSettings, path, overrides)
    return load_tree(EventsSettings, path, overrides)


def folder_kind(folder: Path) -> str:
    """Of a model folder. Raises DataError for one of no music model."""
    return kind_of_folder(folder, (MUSIC, EVENTS), KINDS, "music model")
