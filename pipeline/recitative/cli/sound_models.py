"""Opening a sound model that a user names: a folder from training, or a file from export."""

from __future__ import annotations

from pathlib import Path

from recitative.errors import UsageError
from recitative.runtime.sound import SoundGenerator

MODEL_HELP = "A sound model: a file from 'recitative sound export', or a folder such as EXP/model."


def open_generator(model: Path) -> SoundGenerator:
    """Both are drawn from by ONNX Runtime; a folder's graph is made on the way, which needs the training packages.

    Raises DataError for what is no sound model.
    """
    if not model.is_dir():
        return SoundGenerator(model)
    from recitative.export.wave import build_wave_file
    from recitative.models.wave import load_wave_model

    return SoundGenerator(build_wave_file(load_wave_model(model)).SerializeToString())


def require_temperature(temperature: float) -> None:
    """Raises UsageError for one that is not above 0."""
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always the likeliest sample")
