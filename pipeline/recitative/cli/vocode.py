"""``recitative vocode``: recordings drawn anew from their mel frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from recitative.audio.files import read_audio, write_wav
from recitative.audio.resample import resample
from recitative.cli.music_files import require_folder
from recitative.cli.progress import progress_bar
from recitative.cli.sound_files import write_data
from recitative.cli.sound_models import MODEL_HELP, open_generator, require_temperature
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, Problem, UsageError
from recitative.models.conditions import mel_conditions
from recitative.runtime.side_by_side import draw_all
from recitative.runtime.sound import Samples, SoundGenerator


def vocode(
    inputs: Annotated[list[Path], typer.Argument(help="Recordings, or one data directory.")],
    model: Annotated[Path, typer.Option(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option(help="The folder to write to; of a data directory, one like it.")],
    seed: Annotated[int, typer.Option(min=0, help="The same number, the same bytes.")] = 1,
    temperature: Annotated[float, typer.Option(help="Below 1 smoother, above 1 noisier.")] = 1.0,
) -> None:
    """Draw recordings anew, sample by sample, from nothing but their mel frames: copy synthesis.

    A bad recording is named and the others are drawn; then the exit status is 1.
    """
    require_temperature(temperature)
    generator = open_generator(model)
    if (told := generator.card.settings.sound.condition) != "mel":
        raise UsageError(f"--model {model}: is told {told}; a vocoder is told mel frames (sound.condition=mel)")
    require_folder(output)
    found = _read(inputs, generator)
    with progress_bar("drawing") as show:
        drawn = draw_all(generator, found.frames, found.lengths, seed=seed, temperature=temperature, on_progress=show)
    sounds = dict(zip(found.names, drawn, strict=True))
    if _is_data(inputs):
        write_data(inputs[0], output, sounds, generator.sample_rate)
        print(output)
    else:
        for name, samples in sounds.items():
            write_wav(output / f"{name}.wav", samples, generator.sample_rate)
            print(output / f"{name}.wav")
    if found.problems:
        raise DataError.collect(found.problems)


@dataclass(frozen=True)
class _Found:
    """What could be read, and what is wrong with the others."""

    names: list[str]
    frames: list[Samples]
    lengths: list[int]
    problems: list[Problem]


def _is_data(inputs: list[Path]) -> bool:
    return len(inputs) == 1 and inputs[0].is_dir()


def _read(inputs: list[Path], generator: SoundGenerator) -> _Found:
    found = _Found([], [], [], [])
    for name, path, start_s, end_s in _sources(inputs):
        try:
            samples, rate = read_audio(path, start_s=start_s, end_s=end_s)
            samples = resample(samples, rate, generator.sample_rate)
            found.frames.append(mel_conditions(samples, generator.card.settings))
        except DataError as error:
            for p in error.problems:
                where = path if p.where == "recording" else p.where
                found.problems.append(Problem(where, p.found, p.allowed, p.remedy))
        else:
            found.names.append(name)
            found.lengths.append(len(samples))
    return found


def _sources(inputs: list[Path]) -> list[tuple[str, str, float, float | None]]:
    """Name, path, first and last second of each recording. Raises UsageError for two of one name."""
    if _is_data(inputs):
        return [(u.utt_id, u.recording_path, u.start_s, u.end_s) for u in DataDirectory.read(inputs[0]).utterances]
    names = [path.stem for path in inputs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"'{twice[0]}': is the name of several inputs; they would be written to one file")
    return [(path.stem, str(path), 0.0, None) for path in inputs]
