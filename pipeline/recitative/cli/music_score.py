"""``recitative score``: how probable pieces are to a model."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from recitative import pretrained
from recitative.cli.music_models import OthersOption, open_events, open_voices, refuse_others
from recitative.cli.progress import progress_bar
from recitative.cli.results import (
    CommandOption,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.errors import UsageError
from recitative.kinds import MUSIC_KINDS, kind_of
from recitative.music.event_composer import read_event_pieces
from recitative.music.event_kind import EVENTS
from recitative.music.event_likelihood import event_likelihood
from recitative.music.likelihood import likelihood_of
from recitative.score.results import Measurement


def score(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A music model's folder, such as EXP/model, or file.")],
    pieces: Annotated[Path, typer.Argument(help="A folder of MIDI or ABC files.")],
    others: OthersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object.")] = False,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Print how probable pieces are to a model: nats a frame and nats a token, each frame given those before it.

    A frame is a step of the model's grid, a token what one voice has in it. The model is told nothing about a piece,
    but for the tonic where pieces.key says that all pieces have the same. Of a model of events: nats a token, ends
    included, and nats a note. An exported file is run without PyTorch.
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    started = time.perf_counter()
    path = pretrained.find(model)
    if kind_of(path, MUSIC_KINDS) is EVENTS:
        refuse_others(others, path)
        found = _of_events(path, pieces)
    else:
        found = _of_voices([path, *map(pretrained.find, others or ())], pieces)
    record.write(found.measured, found.settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps({one.metric.replace(" ", "_"): one.value for one in found.measured} | found.counted))
        return
    values = ", ".join(f"{one.value:.4f} {one.metric}" for one in found.measured)
    print(f"{values} ({', '.join(f'{count} {unit}' for unit, count in found.counted.items())})")


@dataclass(frozen=True)
class _Found:
    measured: list[Measurement]
    counted: dict[str, int]
    settings: BaseModel


def _of_voices(models: Sequence[Path], pieces: Path) -> _Found:
    from recitative.music.pieces import read_pieces

    scorer = open_voices(models)
    if scorer.fills:
        raise UsageError(f"{models[0]}: fills in and has no likelihood of a whole piece; name a model that continues")
    tokens = [piece.tokens for piece in read_pieces(pieces, scorer.settings)]
    with progress_bar("scoring") as show:
        found = likelihood_of(scorer, tokens, scorer.settings.pieces.key, show)
    measured = [
        Measurement("nats per frame", found.per_frame, f"{found.frames} frames"),
        Measurement("nats per token", found.per_token, f"{found.tokens} tokens"),
    ]
    return _Found(measured, {"frames": found.frames}, scorer.settings)


def _of_events(model: Path, pieces: Path) -> _Found:
    scorer = open_events(model)
    material = read_event_pieces(pieces, scorer.events)
    found = event_likelihood(scorer.network, scorer.events.vocabulary, material.pieces)
    measured = [
        Measurement("nats per token", found.per_token, f"{found.tokens} tokens"),
        Measurement("nats per note", found.per_note, f"{found.notes} notes"),
    ]
    return _Found(measured, {"tokens": found.tokens, "notes": found.notes}, scorer.settings)
