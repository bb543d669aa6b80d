"""Written pieces as files: MIDI, sound, picture, and a page with all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recitative.atomic import write_bytes, write_text
from recitative.audio.files import write_wav
from recitative.cli.progress import track
from recitative.errors import UsageError, os_problem
from recitative.music import synth
from recitative.music.midi import midi_bytes
from recitative.music.page import Exhibit, music_page
from recitative.music.picture import piano_roll
from recitative.music.piece import Note, Piece
from recitative.music.synth import find_soundfont
from recitative.report.figure import save_figure

Written = tuple[Piece, frozenset[Note]]  # and those of its notes that were given

PAGE = "index.html"


def write_pieces(pieces: Sequence[Written], output: Path, *, sound: bool, soundfont: Path | None) -> None:
    """NAME.mid, NAME.svg and NAME.wav of each piece, and the page. Prints each MIDI file's path."""
    if soundfont is None and sound:
        soundfont = find_soundfont()
    exhibits = [
        _write(piece, given, output, sound=sound, soundfont=soundfont)
        for piece, given in track(pieces, "writing", len(pieces))
    ]
    if exhibits:
        write_text(output / PAGE, music_page(exhibits, title="Music"))
        print(f"to see and hear: {output / PAGE}", file=sys.stderr)


def _write(piece: Piece, given: frozenset[Note], output: Path, *, sound: bool, soundfont: Path | None) -> Exhibit:
    path = output / f"{piece.name}.mid"
    content = midi_bytes(piece)
    write_bytes(path, content)
    save_figure(piano_roll(piece, given=given or None).figure, path.with_suffix(".svg"))
    played = b""
    if sound:
        samples = synth.render(piece, soundfont=soundfont)
        write_wav(path.with_suffix(".wav"), samples, synth.SAMPLE_RATE)
        played = synth.mp3_bytes(samples)
    print(path)
    return Exhibit(piece.name, piece, content, played, given=given or None)


def require_folder(output: Path, option: str = "--output") -> None:
    """Raises UsageError for a folder that cannot be made or written to."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".recitative"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{option} {os_problem(error, str(output))}") from None
