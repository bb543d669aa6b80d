"""``recitative init-config``: a model and a schedule for the corpus and the machine at hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from recitative.atomic import write_text
from recitative.audio.files import inspect
from recitative.cli.progress import track
from recitative.config import FeatureSettings, dump_settings
from recitative.data.directory import DataDirectory
from recitative.data.frames import num_frames
from recitative.features.extraction import audio_duration_s
from recitative.machine import available_cores
from recitative.text.tokens import required_frames

if TYPE_CHECKING:
    from recitative.asr.presets import Corpus, Hardware, Suggestion


def init_config(
    data_dir: Annotated[Path, typer.Argument(help="Data directory of the training set.")],
    output: Annotated[Path, typer.Option(help="Settings file to write, such as conf.yaml.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Bidirectional model for whole recordings. Default: a streaming model.")
    ] = False,
    hours: Annotated[
        float | None, typer.Option(min=0.01, help="Training time. Default: depends on the size of the corpus.")
    ] = None,
) -> None:
    """Choose a model and a training schedule, and write a settings file for 'recitative train'.

    The choice depends on the hours of audio, the number of speakers and this machine; the reasons are printed.

    \b
    recitative init-config data/train --output conf/lstm.yaml --hours 2
    """
    from recitative.asr import presets as suggestions

    suggestion = suggestions.suggest(_corpus(data_dir), _hardware(), offline=offline, hours=hours)
    _print(suggestion, output)
    write_text(output, _comment(suggestion, data_dir) + dump_settings(suggestion.settings))


def _corpus(data_dir: Path) -> Corpus:
    """Raises DataError for recordings that cannot be opened or have several sample rates."""
    from recitative.asr.presets import Corpus

    directory = DataDirectory.read(data_dir)
    utterances = directory.utterances
    sample_rate = inspect(utterances[0].recording_path).sample_rate
    seconds = [audio_duration_s(one, sample_rate) for one in track(utterances, "measuring recordings", len(utterances))]
    features = FeatureSettings(sample_rate=sample_rate)
    frames = [num_frames(round(length * sample_rate), features) for length in seconds]
    letters = [required_frames(list(one.text or "")) for one in utterances]
    lengths = tuple(zip(frames, letters, strict=True))
    return Corpus(sum(seconds) / 3600, len(directory.by_speaker), sample_rate, max(seconds), lengths)


def _hardware() -> Hardware:
    import torch

    from recitative.asr.presets import Hardware

    gpu = torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else 0.0
    return Hardware(available_cores(), gpu)


def _print(suggestion: Suggestion, output: Path) -> None:
    table = Table(title=str(output), title_justify="left", show_header=False)
    for choice in suggestion.choices:
        table.add_row(choice.what, choice.value, choice.reason)
    width = None if sys.stdout.isatty() else 1000  # in a file no line is wrapped
    Console(markup=False, emoji=False, width=width).print(table)
    print(f"expected training time: {_duration(suggestion.train_hours)}")
    for warning in suggestion.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1.5 else f"{max(1, round(hours * 60))} minutes"


def _comment(suggestion: Suggestion, data_dir: Path) -> str:
    lines = [f"# What 'recitative init-config {data_dir} ...' chose; change what you like.", "#"]
    lines += [f"# {choice.what}: {choice.value}; {choice.reason}" for choice in suggestion.choices]
    return "".join(f"{line}\n" for line in lines)
