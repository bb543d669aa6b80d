"""The labels of a model folder: which texts and speakers it can be told."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from recitative.errors import DataError
from recitative.models.conditions import Labels

LABELS = "labels.json"


def write_labels(labels: Labels, folder: Path) -> None:
    (folder / LABELS).write_text(json.dumps(asdict(labels), indent=1) + "\n", encoding="utf-8")


def read_labels(folder: Path, remedy: str) -> Labels:
    """Raises DataError for a file that holds none."""
    path = folder / LABELS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Labels(**{name: tuple(values) for name, values in facts.items()})
    except (ValueError, TypeError, AttributeError):
        raise DataError(str(path), "holds no labels", "texts and speakers", remedy) from None
