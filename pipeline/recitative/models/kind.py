"""Which of several kinds a settings file or a model folder is: ``kind`` stands in both. No torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import BaseModel

from recitative.atomic import recover_folder
from recitative.config import load_tree
from recitative.errors import DataError, UsageError
from recitative.reading import read_yaml

SETTINGS = "settings.yaml"


class _Kind(BaseModel, frozen=True, extra="ignore"):
    kind: str = ""


def kind_of_settings(path: Path | None, overrides: Sequence[str], known: Collection[str], kinds: str) -> str:
    """The first of ``known`` where none is named. Raises UsageError, with ``kinds`` in words, for another one."""
    kind = load_tree(_Kind, path, overrides).kind or next(iter(known))
    if kind not in known:
        raise UsageError(f"{path or 'settings'}: kind={kind!r}: must be {kinds}")
    return kind


def kind_of(folder: Path) -> str:
    """What the settings of a model folder say that it is; '' if they cannot be read or don't say, as a recogniser's."""
    recover_folder(folder)
    try:
        values = read_yaml(folder / SETTINGS)
    except DataError:
        return ""
    return str(values.get("kind", "")) if isinstance(values, dict) else ""


def kind_of_folder(folder: Path, known: Collection[str], kinds: str, what: str) -> str:
    """Raises DataError for a folder of another kind; ``what`` is a name for these: "sound model"."""
    recover_folder(folder)
    path = folder / SETTINGS
    if not path.is_file():
        raise DataError(str(folder), f"has no {SETTINGS}", f"a {what}'s folder", "correct the path")
    kind = kind_of(folder)
    if kind not in known:
        raise DataError(str(path), f"is not a {what}'s", f"kind {kinds}", f"name a {what}")
    return kind
