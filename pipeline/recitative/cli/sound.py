"""Models of sound: train, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.progress import progress_bar
from recitative.kinds import SOUND_KINDS
from recitative.model.kind import kind_of_folder
from recitative.sound.kind import SOUND, SPECTROGRAM


def score(
    model: Annotated[Path, typer.Argument(help="A sound model's folder, such as EXP/model.")],
    data: Annotated[Path, typer.Argument(help="Data directory.")],
) -> None:
    """Print how probable recordings are to a model: nats a sample, each sample given those before it.

    Of a model of mel frames, nats a dimension of the normalized frames.
    """
    with progress_bar("reading") as show:
        from recitative.model.folder import load_model

        if kind_of_folder(model, SOUND_KINDS) is SPECTROGRAM:
            from recitative.sound.spectrogram_task import nats_per_dimension
            from recitative.sound.spectrogram_task import read_directory as read_spectrograms

            drawing = load_model(model, SPECTROGRAM)
            nats, count = nats_per_dimension(drawing, read_spectrograms(data, drawing, show))
            unit, counted = "dimension", "frames"
        else:
            from recitative.sound.wave_task import nats_per_sample, read_directory

            loaded = load_model(model, SOUND)
            nats, count = nats_per_sample(loaded, read_directory(data, loaded, show))
            unit, counted = "sample", "samples"
    print(f"{nats:.4f} nats per {unit} ({count} {counted})")
