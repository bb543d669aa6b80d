"""Which kind a music model is: of frames in voices, or of events. No torch.

``kind`` stands in a settings file and thereby in a model folder; of an exported file it is in the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from recitative.config import load_tree
from recitative.errors import DataError, UsageError
from recitative.models.events_settings import EventsSettings
from recitative.models.music_settings import MusicSettings

AnyMusicSettings = MusicSettings | EventsSettings

MUSIC, EVENTS = "music", "events"
KINDS = f"'{MUSIC}' (notes in voices, frame by frame) or '{EVENTS}' (any notes, one after another)"


class _Kind(BaseModel, frozen=True, extra="ignore"):
    kind: str = MUSIC


def load_music_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> AnyMusicSettings:
    """As ``load_tree``, of the kind that the file names. Raises UsageError for another kind as well."""
    kind = load_tree(_Kind, path, overrides).kind
    if kind not in (MUSIC, EVENTS):
        raise UsageError(f"{path or 'settings'}: kind={kind!r}: must be {KINDS}")
    return load_tree(EventsSettings, path, overrides) if kind == EVENTS else load_tree(MusicSettings, path, overrides)


def folder_kind(folder: Path) -> str:
    """Of a model folder. Raises DataError for one of no music model."""
    path = folder / "settings.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(str(folder), "has no settings.yaml", "a music model's folder", "correct the path") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        values = None
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind not in (MUSIC, EVENTS):
        raise DataError(str(path), "is not a music model's", f"kind {KINDS}", "name a music model")
    return str(kind)
