"""Opening a model of sound that a user names: a folder from training, or a file from export."""

from __future__ import annotations

from pathlib import Path

from recitative.errors import UsageError
from recitative.kinds import SOUND_KINDS, kind_of
from recitative.sound.generator import LabelVoice, SoundGenerator, SpectrogramVoice, Voice
from recitative.sound.kind import SOUND, SPECTROGRAM

MODEL_HELP = "Sound model: model folder such as exp/vocoder/model, or exported file."


def open_generator(model: Path) -> SoundGenerator:
    """Both are drawn from by ONNX Runtime; a folder's graph is made on the way, which needs the training packages.

    Raises DataError for what is no sound model.
    """
    from recitative.export.opening import open_model

    generator: SoundGenerator = open_model(model, [SOUND])
    return generator


def open_voice(model: Path, vocoder: Path | None, heat: float) -> Voice:
    """A model that is told labels: of sound, or of mel frames, which needs a vocoder. Raises UsageError without."""
    if kind_of(model, SOUND_KINDS) is SOUND:
        if vocoder:
            raise UsageError(f"--vocoder: {model} draws samples itself; leave it out")
        return LabelVoice(open_generator(model))
    if not vocoder:
        raise UsageError(f"--model {model}: draws mel frames; name a --vocoder that makes sound of them")
    from recitative.export.opening import open_model

    return SpectrogramVoice(open_model(model, [SPECTROGRAM]), open_generator(vocoder), heat)


def require_temperature(temperature: float) -> None:
    """Raises UsageError for one that is not above 0."""
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always the likeliest sample")
