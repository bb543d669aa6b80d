"""``recitative keywords spot``: keywords in recordings."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.atomic import json_text
from recitative.cli.failures import Failures
from recitative.cli.models import find_model
from recitative.cli.progress import progress_bar
from recitative.cli.recordings import ChannelOption, PartialOption, choose_channels, tell, warn_of_recording
from recitative.cli.spotting import (
    SPOTTING_MODEL_HELP,
    KeywordsOption,
    SpottingOptions,
    ThresholdsOption,
    WithinOption,
    open_spotting_recognizer,
)
from recitative.machine import available_cores

if TYPE_CHECKING:
    from recitative.text.words import Word


def spot(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Audio files, folders, patterns such as 'calls/*.wav', or '-' for stdin."
        ),
    ],
    keywords: KeywordsOption,
    model: Annotated[str, typer.Option(help=SPOTTING_MODEL_HELP)] = "",
    thresholds: ThresholdsOption = None,
    within_words: WithinOption = False,
    format: Annotated[
        Literal["text", "jsonl"],
        typer.Option(help="text: file, start, end, keyword, confidence; jsonl: one detection per line."),
    ] = "text",
    channel: ChannelOption = "mix",
    partial_: PartialOption = False,
    jobs: Annotated[int, typer.Option(min=0, help="Number of processes. 0: one per core.")] = 0,
) -> None:
    """Find keywords in recordings, with times and confidences.

    A recognizer finds any phrase. Unreadable files are reported and skipped; the exit status is then 1.

    \b
    recitative keywords spot calls/ --keywords 'enter, new york:0.8'
    """
    from recitative.asr.batch import transcribe_files
    from recitative.audio.inputs import expand

    files, channels = choose_channels(expand(inputs, tell), channel, partial_)
    path = find_model(model)
    open_model = partial(open_spotting_recognizer, path, SpottingOptions(keywords, thresholds, within_words))
    recognizer, failures = open_model(), Failures(len(files), "could not be heard")
    with progress_bar("spot") as show:
        advance = partial(show, total=len(files))
        workers = min(jobs or available_cores(), len(files))
        outcomes = transcribe_files(
            files,
            recognizer,
            workers,
            open_again=open_model,
            partial_ok=partial_,
            channels=channels,
            progress=advance,
        )
        for outcome in outcomes:
            if outcome.transcript is None:
                failures.tell(outcome.error)
            else:
                for hit in outcome.transcript.words:
                    print(f"{outcome.file}\t{hit_text(hit)}" if format == "text" else hit_json(hit, outcome.file))
                sys.stdout.flush()
                warn_of_recording(outcome.file, outcome.transcript)
    failures.finish()


def hit_text(hit: Word) -> str:
    """Start and end in seconds, keyword, confidence."""
    return f"{hit.start_s:.2f}\t{hit.end_s:.2f}\t{hit.word}\t{hit.confidence:.3f}"


def hit_json(hit: Word, file: str = "") -> str:
    """An object on one line."""
    entries = {("keyword" if key == "word" else key): value for key, value in asdict(hit).items()}
    return json_text(({"file": file} if file else {}) | entries)
