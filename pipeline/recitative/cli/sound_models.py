"""Opening a model of sound that a user names: a folder from training, or a file from export."""

from __future__ import annotations

from pathlib import Path

from recitative.errors import UsageError
from recitative.models.sound_kind import SPECTROGRAM, folder_kind
from recitative.runtime.session import file_kind
from recitative.runtime.sound import KIND, SoundGenerator
from recitative.runtime.spectrogram import SpectrogramGenerator
from recitative.runtime.voice import LabelVoice, SpectrogramVoice, Voice

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


def is_spectrogram(model: Path) -> bool:
    """Whether it draws mel frames rather than samples. Raises DataError for what is no model."""
    kind = folder_kind(model) if model.is_dir() else file_kind(model, KIND, "make one with 'recitative sound export'")
    return kind == SPECTROGRAM


def open_voice(model: Path, vocoder: Path | None, heat: float) -> Voice:
    """A model that is told labels: of sound, or of mel frames, which needs a vocoder. Raises UsageError without."""
    if not is_spectrogram(model):
        if vocoder:
            raise UsageError(f"--vocoder: {model} draws samples itself; leave it out")
        return LabelVoice(open_generator(model))
    if not vocoder:
        raise UsageError(f"--model {model}: draws mel frames; name a --vocoder that makes sound of them")
    return SpectrogramVoice(_open_spectrogram(model), open_generator(vocoder), heat)


def _open_spectrogram(model: Path) -> SpectrogramGenerator:
    if not model.is_dir():
        return SpectrogramGenerator(model)
    from recitative.export.spectrogram import build_spectrogram_file
    from recitative.models.spectrogram import load_spectrogram_model

    return SpectrogramGenerator(build_spectrogram_file(load_spectrogram_model(model)).SerializeToString())


def require_temperature(temperature: float) -> None:
    """Raises UsageError for one that is not above 0."""
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always the likeliest sample")
