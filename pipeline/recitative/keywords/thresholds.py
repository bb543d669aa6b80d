"""Thresholds of keywords in a JSON file: from which confidence on a candidate is a hit, for one model.

{"model": "5f0c...", "data": "data/dev", "hours": 0.63, "false_alarms_per_hour": 1.0, "thresholds": {"yes": 0.62}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from recitative.atomic import write_text
from recitative.errors import DataError
from recitative.reading import checked, read_json


@dataclass(frozen=True)
class KeywordThresholds:
    """model: ``fingerprint``; data, hours: what they were set on; false_alarms_per_hour: what was wanted of each."""

    model: str
    data: str
    hours: float
    false_alarms_per_hour: float
    thresholds: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> KeywordThresholds:
        """Raises DataError for anything but such a file."""
        wanted, remedy = "a file of 'recitative keywords tune'", "make it again"
        found = checked(cls, read_json(path, wanted), str(path), wanted, remedy)
        if not all(0.0 < value <= 1.0 for value in found.thresholds.values()):
            raise DataError(str(path), "holds no thresholds above 0 and at most 1", wanted, remedy)
        return found

    def write(self, path: Path) -> None:
        """Atomic."""
        write_text(path, json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n")

    def require(self, path: Path, model: Path, keywords: Iterable[str]) -> None:
        """Raises DataError if they were set for another model or lack one of the keywords."""
        if self.model != fingerprint(model):
            remedy = "tune them for this one with 'recitative keywords tune'"
            raise DataError(str(path), f"is for another model than {model}", "the model that it was tuned with", remedy)
        missing = [keyword for keyword in keywords if keyword not in self.thresholds]
        if missing:
            known = ", ".join(f"'{keyword}'" for keyword in self.thresholds)
            remedy = f"give it one yourself, '{missing[0]}:0.8', or tune it"
            raise DataError(str(path), f"has no threshold of keyword '{missing[0]}'", f"only {known}", remedy)


def fingerprint(model: Path) -> str:
    """16 hexadecimal digits of a model file's SHA-256, or of all files of a model folder."""
    digest = hashlib.sha256()
    for path in sorted(model.rglob("*")) if model.is_dir() else [model]:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
