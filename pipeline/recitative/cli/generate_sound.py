"""``recitative generate sound``: what labels say, or how a recording goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from recitative.audio.files import inspect, read_audio, write_wav
from recitative.audio.inputs import on_disk
from recitative.audio.pipes import wav_header, wav_samples
from recitative.audio.recording import Samples
from recitative.audio.resample import resample
from recitative.cli.music_files import require_folder
from recitative.cli.progress import progress_bar
from recitative.cli.sound_files import write_data
from recitative.cli.sound_models import MODEL_HELP, open_voice, require_temperature
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import UsageError
from recitative.sound.conditioning import Labels
from recitative.sound.generator import SoundGenerator, Voice, draw_all

STDOUT = "-"


def sound(
    model: Annotated[Path, typer.Option(help=MODEL_HELP)],
    vocoder: Annotated[Path | None, typer.Option(help="Vocoder. Required for models of spectrograms.")] = None,
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
    seed: Annotated[int, typer.Option(min=0, help="Random seed. Equal seeds give identical files.")] = 1,
    temperature: Annotated[float, typer.Option(help="Sampling temperature.")] = 1.0,
    heat: Annotated[
        float, typer.Option(min=0, help="Variation of spectrograms. 0: none; 1: as in the recordings.")
    ] = 0.5,
    output: Annotated[str, typer.Option(help="Output folder. '-': stream one WAV file to stdout.")] = "sound",
) -> None:
    """Generate sound: one WAV file per speaker and count.

    Models of spectrograms need a --vocoder.

    \b
    recitative generate sound --model exp/voice/model.onnx --text seven --output sounds
    """
    require_temperature(temperature)
    if seconds < 0:
        raise UsageError(f"--seconds {seconds:g}: must be above 0, or 0")
    voice = open_voice(model, vocoder, heat)
    generator = voice.generator
    if like:
        _draw_like(voice, like, Path(output), seed, temperature)
        return
    given = _given(go_on, generator)
    if given is not None and vocoder:
        raise UsageError("--continue: a model of mel frames begins anew; leave it out")
    jobs = list(_jobs(voice, text, speaker, seconds, given))
    if output == STDOUT:
        if len(jobs) * count != 1:
            raise UsageError(f"--output -: {len(jobs) * count} sounds; one can be streamed; name one --speaker")
        _stream(voice, jobs[0], given, seed, temperature)
        return
    folder = Path(output)
    require_folder(folder)
    for job in jobs:
        for number in range(count):
            path = folder / f"{job.name}-{number + 1}.wav"
            told, num_samples = _told(voice, job, number, seed), job.num_samples
            blocks = generator.generate(
                num_samples, frames=told, given=given, row_numbers=[number], seed=seed, temperature=temperature
            )
            write_wav(
                path, np.concatenate(list(_shown(blocks, path.name, num_samples)), axis=1)[0], generator.sample_rate
            )
            print(path)


def _draw_like(voice: Voice, like: Path, output: Path, seed: int, temperature: float) -> None:
    """A data directory of drawn sounds."""
    generator = voice.generator
    if not voice.labels.texts:
        condition = generator.metadata.settings.sound.condition
        raise UsageError(f"--like: needs a model that is told labels; this one is told {condition}")
    require_folder(output)
    data = DataDirectory.read(like)
    lengths = [round(_seconds_of(u) * generator.sample_rate) for u in data.utterances]

    def told(number: int) -> tuple[Samples, int]:
        u, length = data.utterances[number], lengths[number]
        return voice.told(u.text or "", u.speaker, length, number=number, seed=seed), length

    with progress_bar("drawing") as show:
        drawn = draw_all(generator, lengths, told, seed=seed, temperature=temperature, on_progress=show)
        sounds = ((data.utterances[number].utt_id, samples) for number, samples in drawn)
        write_data(data, output, sounds, generator.sample_rate)
    print(output)


def _seconds_of(utterance: Utterance) -> float:
    """Seconds, by the header of the recording."""
    end_s = utterance.end_s
    return (inspect(utterance.recording_path).duration_s if end_s is None else end_s) - utterance.start_s


@dataclass(frozen=True)
class _Job:
    """A file's name, its samples, and what is said by whom; nothing for a model that is told nothing."""

    name: str
    num_samples: int
    text: str = ""
    speaker: str = ""


def _jobs(voice: Voice, text: str, speaker: str, seconds: float, given: Samples | None) -> Iterator[_Job]:
    labels, rate = voice.labels, voice.generator.sample_rate
    before = 0 if given is None else len(given)
    if not labels.texts:
        if voice.generator.metadata.settings.sound.condition == "mel":
            raise UsageError("--model: is a vocoder, which draws recordings anew; use 'recitative vocode'")
        if text or speaker:
            raise UsageError("--text, --speaker: the model is told nothing; leave them out")
        yield _Job("sound", before + round((seconds or 2.0) * rate))
        return
    if text not in labels.texts:
        raise UsageError(f"--text '{text}': the model knows {', '.join(labels.texts)}")
    if speaker and speaker not in labels.speakers:
        raise UsageError(f"--speaker '{speaker}': the model knows {', '.join(labels.speakers)}")
    length = max(before, round((seconds or _usual(labels, text)) * rate))
    for who in [speaker] if speaker else labels.speakers:
        yield _Job(f"{'_'.join(text.split())}-{who}", length, text, who)


def _told(voice: Voice, job: _Job, number: int, seed: int) -> list[Samples]:
    if not voice.labels.texts:
        return []
    return [voice.told(job.text, job.speaker, job.num_samples, number=number, seed=seed)]


def _usual(labels: Labels, text: str) -> float:
    """Seconds"""
    return labels.seconds[labels.texts.index(text)]


def _given(path: Path | None, generator: SoundGenerator) -> Samples | None:
    """(S,) at the model's sample rate."""
    if path is None:
        return None
    with on_disk(str(path)) as found:
        samples, rate = read_audio(found)
    return resample(samples, rate, generator.sample_rate)


def _shown(blocks: Iterator[Samples], title: str, total: int) -> Iterator[Samples]:
    """The blocks, with a bar that moves as they are drawn."""
    with progress_bar(title) as show:
        done = 0
        for block in blocks:
            done += block.shape[1]
            show(done, total)
            yield block


def _stream(voice: Voice, job: _Job, given: Samples | None, seed: int, temperature: float) -> None:
    """One WAV to stdout, block by block; its header leaves the length open."""
    generator, told = voice.generator, _told(voice, job, 0, seed)
    sys.stdout.buffer.write(wav_header(generator.sample_rate))
    for block in generator.generate(job.num_samples, frames=told, given=given, seed=seed, temperature=temperature):
        sys.stdout.buffer.write(wav_samples(block[0]))
        sys.stdout.buffer.flush()
