"""What any model says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recitative.model.file import ModelMetadata, kind_in, read_entries
from recitative.model.kind import AnyKind, kind_of_folder
from recitative.model.session import open_session
from recitative.models.kinds import KINDS


def kind_of(path: Path, kinds: Sequence[AnyKind] = KINDS) -> AnyKind:
    """Of which of these kinds a model is, a folder or an exported file. Raises DataError for none of them."""
    return kind_of_folder(path, kinds) if path.is_dir() else kind_in(_metadata(path, kinds), str(path), kinds)


def read_metadata(path: Path) -> ModelMetadata[Any]:
    """Raises DataError for what is no model file."""
    metadata = _metadata(path)
    return read_entries(metadata, str(path), kind_in(metadata, str(path), KINDS))


def _metadata(path: Path, kinds: Sequence[AnyKind] = KINDS) -> dict[str, str]:
    file = f"{kinds[0].title}'s file" if len(kinds) == 1 else "model file"
    return open_session(path, str(path), file, f"make one with '{kinds[0].export}'", threads=1).metadata
