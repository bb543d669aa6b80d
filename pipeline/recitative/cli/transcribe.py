"""``recitative transcribe``: text of audio files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.models import open_transcriber
from recitative.errors import DataError


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings: wav, flac, ogg (Opus, Vorbis), mp3; one channel.")],
    model: Annotated[Path, typer.Option(help="A model folder, such as EXP/model, or an exported file.")],
) -> None:
    """Print one line 'file<tab>text' for each recording. A bad one is named, the rest is done, and the exit is 1."""
    from recitative.audio.files import read_audio
    from recitative.audio.resample import resample
    from recitative.models.transcriber import text_of

    transcriber = open_transcriber(model)
    wanted_rate = transcriber.sample_rate
    failed = False
    for file in files:
        try:
            samples, rate = read_audio(file)
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        if rate != wanted_rate:
            print(f"{file}: resampled from {rate} to {wanted_rate} Hz", file=sys.stderr)
            samples = resample(samples, rate, wanted_rate)
        print(f"{file}\t{text_of(transcriber.transcribe([samples])[0])}", flush=True)
    if failed:
        raise typer.Exit(1)
