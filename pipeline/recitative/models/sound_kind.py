"""Which kind a model of sound is: of samples, or of the mel frames that a vocoder makes samples of. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recitative.config import load_tree
from recitative.models.kind import kind_of_folder, kind_of_settings
from recitative.models.spectrogram_settings import SpectrogramSettings
from recitative.models.wave_settings import WaveSettings

SOUND, SPECTROGRAM = "sound", "spectrogram"
KINDS = f"'{SOUND}' (sample by sample) or '{SPECTROGRAM}' (mel frames from labels)"


def load_sound_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> WaveSettings | SpectrogramSettings:
    """As ``load_tree``, of the kind that the file names. Raises UsageError for another kind as well."""
    if kind_of_settings(path, overrides, (SOUND, SPECTROGRAM), KINDS) == SOUND:
        return load_tree(WaveSettings, path, overrides)
    return load_tree(SpectrogramSettings, path, overrides)


def folder_kind(folder: Path) -> str:
    """Of a model folder. Raises DataError for one of no sound model."""
    return kind_of_folder(folder, (SOUND, SPECTROGRAM), KINDS, "sound model")
