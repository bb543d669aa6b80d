"""``recitative vocode``: recordings drawn anew from their mel frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from recitative.audio.files import inspect, read_audio, write_wav
from recitative.audio.inputs import naming, on_disk
from recitative.audio.recording import Samples
from recitative.audio.resample import resample
from recitative.cli.music_files import require_folder
from recitative.cli.progress import progress_bar
from recitative.cli.sound_files import write_data
from recitative.cli.sound_models import MODEL_HELP, open_generator, require_temperature
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, Problem, UsageError, os_problem
from recitative.model.names import output_names
from recitative.sound.conditioning import mel_conditions
from recitative.sound.generator import SoundGenerator, draw_all

T = TypeVar("T")


def vocode(
    inputs: Annotated[list[str], typer.Argument(help="Audio files, or one data directory.")],
    model: Annotated[Path, typer.Option(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option(help="Output folder. For a data directory, a new data directory.")],
    seed: Annotated[int, typer.Option(min=0, help="Random seed. Equal seeds give identical files.")] = 1,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
) -> None:
    """Resynthesize recordings from their mel spectrograms (copy synthesis).

    Unreadable files are reported and skipped; the exit status is then 1.

    \b
    recitative vocode talk.wav --model exp/vocoder/model.onnx --output vocoded
    """
    require_temperature(temperature)
    generator = open_generator(model)
    if (told := generator.metadata.settings.sound.condition) != "mel":
        raise UsageError(f"--model {model}: is told {told}; a vocoder is told mel frames (sound.condition=mel)")
    require_folder(output)
    data = DataDirectory.read(inputs[0]) if len(inputs) == 1 and os.path.isdir(inputs[0]) else None
    with ExitStack() as spools, progress_bar("drawing") as show:
        readings = _Readings(_sources(inputs, data, spools), generator)
        drawn = draw_all(
            generator, readings.lengths, readings.told, seed=seed, temperature=temperature, on_progress=show
        )
        sounds = ((readings.sources[number].name, samples) for number, samples in drawn)
        if data:
            write_data(data, output, sounds, generator.sample_rate)
            written = [output]
        else:
            paths = {name: _written(output / f"{name}.wav", samples, generator) for name, samples in sounds}
            written = [paths[source.name] for source in readings.sources if source.name in paths]
    for path in written:
        print(path)
    if readings.problems:
        raise DataError.collect(readings.problems)


def _written(path: Path, samples: Samples, generator: SoundGenerator) -> Path:
    write_wav(path, samples, generator.sample_rate)
    return path


@dataclass(frozen=True)
class _Source:
    name: str
    path: str
    start_s: float = 0.0
    end_s: float | None = None
    file: str = ""  # what the user calls the path, if something else


class _Readings:
    """Recordings, each read when its turn comes; what is wrong with some is kept."""

    def __init__(self, sources: Iterable[_Source], generator: SoundGenerator) -> None:
        self.problems: list[Problem] = []
        self.sources: list[_Source] = []
        self.lengths: list[int] = []
        self._generator = generator
        for source in sources:
            if (seconds := self._unless_bad(source, _seconds)) is not None:
                self.sources.append(source)
                self.lengths.append(round(seconds * generator.sample_rate))

    def told(self, number: int) -> tuple[Samples, int] | None:
        """Mel frames of a recording and how many samples it has; none if it is bad."""
        return self._unless_bad(self.sources[number], self._frames)

    def _frames(self, source: _Source) -> tuple[Samples, int]:
        samples, rate = read_audio(source.path, start_s=source.start_s, end_s=source.end_s)
        samples = resample(samples, rate, self._generator.sample_rate)
        return mel_conditions(samples, self._generator.metadata.settings), len(samples)

    def _unless_bad(self, source: _Source, read: Callable[[_Source], T]) -> T | None:
        file = source.file or source.path
        try:
            with naming(file, source.path):
                return read(source)
        except DataError as error:
            for p in error.problems:
                where = file if p.where == "recording" else p.where
                self.problems.append(Problem(where, p.found, p.allowed, p.remedy))
        except OSError as error:
            self.problems.append(os_problem(error, file))
        return None


def _seconds(source: _Source) -> float:
    """By the header."""
    end_s = inspect(source.path).duration_s if source.end_s is None else source.end_s
    return end_s - source.start_s


def _sources(inputs: list[str], data: DataDirectory | None, spools: ExitStack) -> list[_Source]:
    if data:
        return [_Source(u.utt_id, u.recording_path, u.start_s, u.end_s) for u in data.utterances]
    names = output_names(inputs, inputs)
    return [_Source(names[path], spools.enter_context(on_disk(path)), file=path) for path in dict.fromkeys(inputs)]
