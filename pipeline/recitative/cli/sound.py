"""``recitative generate sound`` and ``vocode``; and ``score`` for models of sound."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer

from recitative.audio.files import (
    Samples,
    inspect,
    naming,
    on_disk,
    read_audio,
    resample,
    wav_header,
    wav_samples,
    write_wav,
)
from recitative.cli.options import SeedOption, TemperatureOption, output_names, require_folder
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, Problem, UsageError, counted, os_problem, raise_all
from recitative.kinds import SOUND_KINDS, kind_of, open_model
from recitative.model.kind import kind_of_folder
from recitative.sound.conditioning import mel_conditions
from recitative.sound.generator import (
    SOUND,
    SPECTROGRAM,
    LabelVoice,
    SoundGenerator,
    SpectrogramVoice,
    Voice,
    generate_all,
)
from recitative.terminal import clock, progress_bar

MODEL_HELP = "Sound model: model folder such as exp/vocoder/model, or exported file."


def require_temperature(temperature: float) -> None:
    """Raises UsageError for a temperature that is not above 0."""
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always the likeliest sample")


def open_voice(model: Path, vocoder: Path | None, spectrogram_temperature: float | None) -> Voice:
    """Open a model of samples, or one of mel frames with its vocoder. Raises UsageError if the vocoder is missing, and
    for options that the model does not have."""
    if kind_of(model, SOUND_KINDS) is SOUND:
        for option, value in (("--vocoder", vocoder), ("--spectrogram-temperature", spectrogram_temperature)):
            if value is not None:
                raise UsageError(f"{option}: {model} generates samples itself; leave it out")
        return LabelVoice(open_model(model, [SOUND]))
    if not vocoder:
        raise UsageError(f"--model {model}: generates mel frames; add a --vocoder")
    scale = SPECTROGRAM_TEMPERATURE if spectrogram_temperature is None else spectrogram_temperature
    return SpectrogramVoice(open_model(model, [SPECTROGRAM]), open_model(vocoder, [SOUND]), scale)


STDOUT = "-"
SPECTROGRAM_TEMPERATURE = 0.5


def sound(
    model: Annotated[Path, typer.Option(help=MODEL_HELP)],
    vocoder: Annotated[Path | None, typer.Option(help="Vocoder. Required for models of mel frames.")] = None,
    text: Annotated[str, typer.Option(help="Text, one of the model's texts.")] = "",
    speaker: Annotated[
        str, typer.Option(help="Speaker, one of the model's speakers. Default: one file per speaker.")
    ] = "",
    go_on: Annotated[Path | None, typer.Option("--continue", help="Recording to continue.")] = None,
    like: Annotated[
        Path | None, typer.Option(help="Data directory; its texts, speakers and lengths are synthesized.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length. 0: typical length of the text, or 2 s.")] = 0.0,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Number of files.")] = 1,
    seed: SeedOption = 1,
    temperature: TemperatureOption = 1.0,
    spectrogram_temperature: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Scale of the standard deviation of mel frames. 1: as trained; 0: the means. "
            f"Default: {SPECTROGRAM_TEMPERATURE}.",
        ),
    ] = None,
    heat: Annotated[float | None, typer.Option(min=0, hidden=True)] = None,  # older name of it
    output: Annotated[str, typer.Option(help="Output folder. '-': stream one WAV file to stdout.")] = "sound",
) -> None:
    """Generate sound: one WAV file per speaker and count.

    Models of mel frames require a --vocoder.

    \b
    recitative generate sound --model exp/voice/model.onnx --text seven --output sounds
    recitative generate sound --model exp/mel/model.onnx --vocoder exp/vocoder/model.onnx --text seven --speaker anna
    """
    require_temperature(temperature)
    if seconds < 0:
        raise UsageError(f"--seconds {seconds:g}: must be above 0, or 0")
    chosen = {"--text": text, "--speaker": speaker, "--continue": go_on, "--seconds": seconds, "--count": count > 1}
    unused = [option for option, value in {**chosen, "--output -": output == STDOUT}.items() if value]
    if like and unused:
        raise UsageError(f"{unused[0]}: not with --like, which gives texts, speakers and lengths, to a data directory")
    voice = open_voice(model, vocoder, spectrogram_temperature if heat is None else heat)
    generator = voice.generator
    if like:
        _generate_like(voice, like, Path(output), seed, temperature)
        return
    given: Samples | None = None
    if go_on:
        with on_disk(str(go_on)) as found:
            samples, rate = read_audio(found)
        given = resample(samples, rate, generator.sample_rate)
    if given is not None and vocoder:
        raise UsageError("--continue: a model of mel frames cannot continue a recording; leave it out")
    jobs = list(_jobs(voice, text, speaker, seconds, given))
    if output == STDOUT:
        if len(jobs) * count != 1:
            raise UsageError(
                f"--output -: {counted(len(jobs) * count, 'sound')}; only one can be streamed; choose one --speaker"
            )
        _stream(voice, jobs[0], given, seed, temperature)
        return
    folder = Path(output)
    require_folder(folder)
    for job in jobs:
        for number in range(count):
            path = folder / f"{job.name}-{number + 1}.wav"
            frames, num_samples = _conditioning(voice, job, number, seed), job.num_samples
            blocks = generator.generate(
                num_samples, frames=frames, given=given, row_numbers=[number], seed=seed, temperature=temperature
            )
            write_wav(
                path,
                np.concatenate(list(_shown(blocks, path.name, num_samples, generator.sample_rate)), axis=1)[0],
                generator.sample_rate,
            )
            print(path)


def _generate_like(voice: Voice, like: Path, output: Path, seed: int, temperature: float) -> None:
    """Synthesize the texts of a data directory, with its speakers and lengths, as a new data directory."""
    generator = voice.generator
    if not voice.labels.texts:
        condition = generator.metadata.settings.sound.condition
        raise UsageError(f"--like: needs a model with sound.condition=labels; this one has sound.condition={condition}")
    require_folder(output)
    data = DataDirectory.read(like)
    lengths = [
        round(_duration_s(u.recording_path, u.start_s, u.end_s) * generator.sample_rate) for u in data.utterances
    ]

    def conditioning(number: int) -> tuple[Samples, int]:
        u, length = data.utterances[number], lengths[number]
        return voice.conditioning(u.text or "", u.speaker, length, number=number, seed=seed), length

    with _sound_bar("generating", generator.sample_rate) as show:
        generated = generate_all(generator, lengths, conditioning, seed=seed, temperature=temperature, on_progress=show)
        sounds = ((data.utterances[number].utt_id, samples) for number, samples in generated)
        write_data(data, output, sounds, generator.sample_rate)
    print(output)


def write_data(like: DataDirectory, output: Path, sounds: Iterable[tuple[str, Samples]], sample_rate: int) -> None:
    """Write each sound as output/wav/UTT_ID.wav, then the tables of ``like`` for those utterances."""
    folder = output / "wav"
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for utt_id, samples in sounds:
        paths[utt_id] = folder / f"{utt_id}.wav"
        write_wav(paths[utt_id], samples, sample_rate)
    like.with_utterances(
        replace(u, recording_path=str(paths[u.utt_id]), start_s=0.0, end_s=None, recording_id="")
        for u in like.utterances
        if u.utt_id in paths
    ).write(output)


@dataclass(frozen=True)
class _Job:
    """The name of a file, its samples, text and speaker. Text and speaker are empty for models without labels."""

    name: str
    num_samples: int
    text: str = ""
    speaker: str = ""


def _jobs(voice: Voice, text: str, speaker: str, seconds: float, given: Samples | None) -> Iterator[_Job]:
    labels, rate = voice.labels, voice.generator.sample_rate
    before = 0 if given is None else len(given)
    if not labels.texts:
        if voice.generator.metadata.settings.sound.condition == "mel":
            raise UsageError("--model: is a vocoder; use 'recitative vocode'")
        if text or speaker:
            raise UsageError("--text, --speaker: the model has no labels; leave them out")
        yield _Job("sound", before + round((seconds or 2.0) * rate))
        return
    if text not in labels.texts:
        raise UsageError(f"--text '{text}': the model knows {', '.join(labels.texts)}")
    if speaker and speaker not in labels.speakers:
        raise UsageError(f"--speaker '{speaker}': the model knows {', '.join(labels.speakers)}")
    length = max(before, round((seconds or labels.seconds[labels.texts.index(text)]) * rate))
    for who in [speaker] if speaker else labels.speakers:
        yield _Job(f"{'_'.join(text.split())}-{who}", length, text, who)


def _conditioning(voice: Voice, job: _Job, number: int, seed: int) -> list[Samples]:
    if not voice.labels.texts:
        return []
    return [voice.conditioning(job.text, job.speaker, job.num_samples, number=number, seed=seed)]


@contextmanager
def _sound_bar(title: str, sample_rate: int) -> Iterator[Callable[[float, int], None]]:
    """A progress bar that is moved by samples and shows minutes."""
    with progress_bar(title, clock) as show:
        yield lambda done, total: show(done / sample_rate, total / sample_rate)


def _shown(blocks: Iterator[Samples], title: str, total: int, sample_rate: int) -> Iterator[Samples]:
    """Pass the blocks on, with a progress bar."""
    with _sound_bar(title, sample_rate) as show:
        done = 0
        for block in blocks:
            done += block.shape[1]
            show(done, total)
            yield block


def _stream(voice: Voice, job: _Job, given: Samples | None, seed: int, temperature: float) -> None:
    """Write one WAV to stdout, block by block. Its header leaves the length open."""
    generator, frames = voice.generator, _conditioning(voice, job, 0, seed)
    sys.stdout.buffer.write(wav_header(generator.sample_rate))
    for block in generator.generate(job.num_samples, frames=frames, given=given, seed=seed, temperature=temperature):
        sys.stdout.buffer.write(wav_samples(block[0]))
        sys.stdout.buffer.flush()


# ``recitative vocode``

T = TypeVar("T")


def vocode(
    inputs: Annotated[list[str], typer.Argument(help="Audio files, or one data directory.")],
    model: Annotated[Path, typer.Option(help=MODEL_HELP)],
    output: Annotated[Path, typer.Option(help="Output folder. For a data directory, a new data directory.")],
    seed: SeedOption = 1,
    temperature: TemperatureOption = 1.0,
) -> None:
    """Resynthesize recordings from their mel spectrograms (copy synthesis).

    Unreadable files are reported and skipped; the exit status is then 1.

    \b
    recitative vocode talk.wav --model exp/vocoder/model.onnx --output vocoded
    recitative vocode data/test --model exp/vocoder/model.onnx --output data/test_vocoded
    """
    require_temperature(temperature)
    generator: SoundGenerator = open_model(model, [SOUND])
    if (condition := generator.metadata.settings.sound.condition) != "mel":
        raise UsageError(f"--model {model}: sound.condition={condition}; a vocoder has sound.condition=mel")
    require_folder(output)
    data = DataDirectory.read(inputs[0]) if len(inputs) == 1 and os.path.isdir(inputs[0]) else None
    with ExitStack() as spools, _sound_bar("generating", generator.sample_rate) as show:
        readings = _Readings(_sources(inputs, data, spools), generator)
        generated = generate_all(
            generator, readings.lengths, readings.conditioning, seed=seed, temperature=temperature, on_progress=show
        )
        sounds = ((readings.sources[number].name, samples) for number, samples in generated)
        if data:
            write_data(data, output, sounds, generator.sample_rate)
            written = [output]
        else:
            finished = set()
            for name, samples in sounds:
                write_wav(output / f"{name}.wav", samples, generator.sample_rate)
                finished.add(name)
            written = [output / f"{one.name}.wav" for one in readings.sources if one.name in finished]
    for path in written:
        print(path)
    raise_all(readings.problems)


@dataclass(frozen=True)
class _Source:
    name: str
    path: str
    start_s: float = 0.0
    end_s: float | None = None
    file: str = ""  # what the user calls the path, if something else


class _Readings:
    """Recordings, read when needed. ``problems`` collects those that cannot be read."""

    def __init__(self, sources: Iterable[_Source], generator: SoundGenerator) -> None:
        self.problems: list[Problem] = []
        self.sources: list[_Source] = []
        self.lengths: list[int] = []
        self._generator = generator
        for source in sources:
            if (seconds := self._unless_bad(source, lambda s: _duration_s(s.path, s.start_s, s.end_s))) is not None:
                self.sources.append(source)
                self.lengths.append(round(seconds * generator.sample_rate))

    def conditioning(self, number: int) -> tuple[Samples, int] | None:
        """The mel frames of a recording and its number of samples; None if it cannot be read."""
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


def _duration_s(path: str, start_s: float, end_s: float | None) -> float:
    """Seconds of a recording or a part of it, by the header of the file."""
    return (inspect(path).duration_s if end_s is None else end_s) - start_s


def _sources(inputs: list[str], data: DataDirectory | None, spools: ExitStack) -> list[_Source]:
    if data:
        return [_Source(u.utt_id, u.recording_path, u.start_s, u.end_s) for u in data.utterances]
    names = output_names(inputs, inputs)
    return [_Source(names[path], spools.enter_context(on_disk(path)), file=path) for path in dict.fromkeys(inputs)]


# ``recitative score``


def score(model: Path, data: Path) -> None:
    """Print the NLL of recordings: nats per sample, or, for models of mel frames, nats per dimension of the frames."""
    from recitative.model.folder import load_model
    from recitative.sound.task import nats_per_dimension, nats_per_sample, read_recordings, read_spectrograms

    utterances = DataDirectory.read(data).utterances
    with progress_bar("reading") as show:
        if kind_of_folder(model, SOUND_KINDS) is SPECTROGRAM:
            spectrogram = load_model(model, SPECTROGRAM)
            frames = read_spectrograms(utterances, spectrogram.settings, spectrogram.labels, show)
            (nats, count), unit, each = nats_per_dimension(spectrogram, frames), "dimension", "frame"
        else:
            loaded = load_model(model, SOUND)
            recordings = read_recordings(utterances, loaded.settings, loaded.labels, show)
            (nats, count), unit, each = nats_per_sample(loaded, recordings), "sample", "sample"
    print(f"{nats:.4f} nats per {unit} ({counted(count, each)})")
