"""Which kind a model of sound is: of samples, or of the mel frames that a vocoder makes samples of. No torch.

``kind`` stands in a settings file and thereby in a model folder; of an exported file it is in the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from recitative.config import load_tree
from recitative.errors import DataError, UsageError
from recitative.models.spectrogram_settings import SpectrogramSettings
from recitative.models.wave_settings import WaveSettings

SOUND, SPECTROGRAM = "sound", "spectrogram"
KINDS = f"'{SOUND}' (sample by sample) or '{SPECTROGRAM}' (mel frames from labels)"


class _Kind(BaseModel, frozen=True, extra="ignore"):
    kind: str = SOUND


def load_sound_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> WaveSettings | SpectrogramSettings:
    """As ``load_tree``, of the kind that the file names. Raises UsageError for another kind as well."""
    kind = load_tree(_Kind, path, overrides).kind
    if kind not in (SOUND, SPECTROGRAM):
        raise UsageError(f"{path or 'settings'}: kind={kind!r}: must be {KINDS}")
    return (
        load_tree(WaveSettings, path, overrides) if kind == SOUND else load_tree(SpectrogramSettings, path, overrides)
    )


def folder_kind(folder: Path) -> str:
    """Of a model folder. Raises DataError for one of no sound model."""
    path = folder / "settings.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(str(folder), "has no settings.yaml", "a sound model's folder", "correct the path") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        values = None
    kind = values.get("kind") if isinstance(values, dict) else None
    if kind not in (SOUND, SPECTROGRAM):
        raise DataError(str(path), "is not a sound model's", f"kind {KINDS}", "name a sound model")
    return str(kind)
