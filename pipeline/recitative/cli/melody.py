"""``recitative melody``: the notes of recorded melodies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_bytes, write_text
from recitative.cli.generate_music import SLOWEST
from recitative.cli.options import require_folder
from recitative.errors import UsageError
from recitative.music.melody import Melody, transcribe_melody
from recitative.music.midi import midi_bytes
from recitative.music.notation import abc_text, musicxml_bytes, notated
from recitative.music.piece import pitch_name
from recitative.music.pieces import SCORE_SUFFIXES, SUFFIXES

FORMS = (".mid", ".musicxml", ".abc")


def melody(
    recording: Annotated[
        Path, typer.Argument(metavar="FILE", help="Recording of one line: sung, hummed, whistled, played.")
    ],
    output: Annotated[
        Path | None, typer.Option(help=f"File to write: {', '.join(FORMS)}. Default: only the table.")
    ] = None,
    tempo: Annotated[
        float, typer.Option(min=0, max=400, help="Quarter notes per minute. 0: estimated from the notes.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write down the melody of a recording: notes, tempo and key.

    The table has the seconds of each note, its name, the cents that it is off, and its start and length in quarters.
    Requires the extra 'music'.

    \b
    recitative melody hum.wav --output hum.musicxml
    recitative generate music hum.wav --harmonize
    """
    if output and output.suffix.lower() not in FORMS:
        raise UsageError(f"--output {output}: must end in {', '.join(FORMS)}")
    if 0 < tempo < SLOWEST:
        raise UsageError(f"--tempo {tempo:g}: must be at least {SLOWEST}, or 0 to estimate it")
    if recording.suffix.lower() in (*SUFFIXES, *SCORE_SUFFIXES):
        raise UsageError(f"{recording}: is written music, not a recording; 'recitative generate music' reads it")
    if output:
        require_folder(output.parent)
    found = transcribe_melody(recording, tempo=tempo)
    print(f"{found.piece.name}: {found}", file=sys.stderr)
    print(json.dumps(_numbers(found)) if as_json else _table(found))
    if output:
        _write(found, output)


def _rows(found: Melody) -> list[dict[str, float | int | str]]:
    quarter = found.piece.steps_per_quarter
    return [
        {
            "start": round(note.start_s, 3), "end": round(note.end_s, 3), "note": pitch_name(note.pitch),
            "pitch": note.pitch, "cents": round(note.cents), "quarter": written.start / quarter,
            "length": written.length / quarter,
        }
        for note, written in zip(found.notes, found.piece.notes, strict=True)
    ]  # fmt: skip


def _table(found: Melody) -> str:
    head = f"{'start':>8} {'end':>8}  {'note':<5}{'cents':>6} {'quarter':>8} {'length':>7}"
    lines = [
        f"{row['start']:>8.2f} {row['end']:>8.2f}  {row['note']:<5}{row['cents']:>+6d} {row['quarter']:>8g} "
        f"{row['length']:>7g}"
        for row in _rows(found)
    ]
    return "\n".join([head, *lines])


def _numbers(found: Melody) -> dict[str, object]:
    piece = found.piece
    return {
        "tempo": piece.quarters_per_minute, "key": found.key, "tuning_cents": round(found.tuning_cents),
        "notes": _rows(found),
    }  # fmt: skip


def _write(found: Melody, output: Path) -> None:
    suffix, piece = output.suffix.lower(), notated(found.piece)
    if suffix == ".abc":
        write_text(output, abc_text(piece))
    else:
        write_bytes(output, midi_bytes(piece) if suffix == ".mid" else musicxml_bytes(piece))
    print(f"written: {output}", file=sys.stderr)
