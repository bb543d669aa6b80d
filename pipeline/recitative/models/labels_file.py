"""The labels of a model folder: which texts and speakers it can be told."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from recitative.models.conditions import Labels
from recitative.reading import checked, read_json

LABELS = "labels.json"


def write_labels(labels: Labels, folder: Path) -> None:
    (folder / LABELS).write_text(json.dumps(asdict(labels), indent=1) + "\n", encoding="utf-8")


def read_labels(folder: Path, remedy: str) -> Labels:
    """Raises DataError for a file that holds none."""
    path = folder / LABELS
    return checked(Labels, read_json(path, "texts and speakers", remedy), str(path), "texts and speakers", remedy)
