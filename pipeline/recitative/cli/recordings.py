"""Options of the verbs that hear recordings, and what is told about these."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.errors import DataError, UsageError

if TYPE_CHECKING:
    from recitative.asr.recognizer import Channel
    from recitative.asr.transcript import Transcript

PartialOption = Annotated[
    bool, typer.Option("--partial", help="Accept truncated or damaged recordings and use what can be read.")
]

ChannelChoice = Literal["mix", "left", "right", "each"]
ChannelOption = Annotated[ChannelChoice, typer.Option(help="Channel to use. each: one after the other.")]

_SIDES = ("left", "right")


def choose_channels(
    files: Sequence[str], choice: ChannelChoice, partial: bool = False
) -> tuple[list[str], dict[str, Channel]]:
    """The names of what is to be heard, and of those that are no files the file and its channel.

    A file of which each channel is heard becomes ``talk-left.wav`` and ``talk-right.wav``, or ``talk-channel3.wav``.
    What cannot be opened keeps its name: whoever hears it tells. Raises UsageError for a stream with ``each``.
    """
    from recitative.audio.files import is_stream

    if choice == "mix":
        return list(files), {}
    if choice != "each":
        return list(files), {file: (file, _SIDES.index(choice)) for file in files}
    channels: dict[str, Channel] = {}
    for file in files:
        if is_stream(file):
            raise UsageError(f"--channel each: {file} can be read but once; save it as a file first")
        count = _count(file, partial)
        if count < 2:
            channels[file] = (file, None)
        for number in range(count if count > 1 else 0):
            side = _SIDES[number] if count == 2 else f"channel{number + 1}"
            channels[str(Path(file).with_name(f"{Path(file).stem}-{side}{Path(file).suffix}"))] = (file, number)
    return list(channels), channels


def tell(note: str) -> None:
    """For a person, not a program, to read."""
    print(note, file=sys.stderr)


def warn_of_recording(file: str, transcript: Transcript) -> None:
    """Tell what is odd about a recording."""
    for warning in transcript.warnings:
        print(f"warning: {file}: {warning}", file=sys.stderr)


def _count(file: str, partial: bool) -> int:
    from recitative.audio.files import inspect

    try:
        return inspect(file, partial=partial).channels
    except DataError:
        return 0
