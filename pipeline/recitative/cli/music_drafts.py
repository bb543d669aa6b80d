"""What a user wants written in voices: which voices, which bars, of which files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from recitative.errors import UsageError
from recitative.music.composition import FINER, Draft, blank, to_continue, to_rewrite
from recitative.music.counterpoint import separated
from recitative.music.piece import Piece
from recitative.music.settings import FrameSettings

VOICES = ("soprano", "alto", "tenor", "bass")


@dataclass(frozen=True)
class Wanted:
    """harmonise: the voice that is given; rewrite: voices that are written anew, rewrite_bars: only in these; bars:
    that are new. Raises UsageError for two kinds of work at once."""

    harmonise: str
    rewrite: str
    rewrite_bars: str
    bars: int

    def __post_init__(self) -> None:
        if self.harmonise and self.rewrite:
            raise UsageError("--harmonise and --rewrite: name one of them")
        if self.rewrite_bars and not self.rewrite:
            raise UsageError("--rewrite-bars: needs --rewrite, which names the voices")

    @property
    def option(self) -> str:
        """That which asks for something to be filled in, if any does."""
        return "--harmonise" if self.harmonise else "--rewrite" if self.rewrite else ""


def new_draft(wanted: Wanted, frames: FrameSettings, name: str, tempo: float) -> Draft:
    """Nothing is given."""
    return blank(frames, wanted.bars * frames.bar, name, tempo)


def draft_of(piece: Piece, wanted: Wanted, frames: FrameSettings) -> Draft:
    """Raises UsageError for voices and bars that there are not, DataError for notes that the model does not know."""
    if wanted.harmonise:
        voice = _voice(wanted.harmonise, frames.voices)
        alone = replace(piece, notes=tuple(replace(note, voice=voice) for note in piece.notes))
        return to_rewrite(alone, frames, [v for v in range(frames.voices) if v != voice])
    piece = piece if piece.voices == frames.voices else separated(piece, frames.voices)
    if not wanted.rewrite:
        return to_continue(piece, frames, wanted.bars * frames.bar)
    voices = (
        list(range(frames.voices))
        if wanted.rewrite == "all"
        else [_voice(name, frames.voices) for name in wanted.rewrite.split(",")]
    )
    first, last = _span(wanted.rewrite_bars, frames.bar, -(-piece.length // FINER))
    return to_rewrite(piece, frames, voices, first, last)


def _voice(name: str, voices: int) -> int:
    """A voice's place, from its name or its number from 1."""
    name = name.strip().lower()
    if voices == len(VOICES) and name in VOICES:
        return VOICES.index(name)
    if name.isdigit() and 1 <= int(name) <= voices:
        return int(name) - 1
    named = f"{', '.join(VOICES)}, or " if voices == len(VOICES) else ""
    raise UsageError(f"'{name}': is no voice; {named}1 to {voices}")


def _span(text: str, bar: int, steps: int) -> tuple[int, int]:
    if not text:
        return 0, -1
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    bars = -(-steps // bar)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= bars:
        raise UsageError(f"--rewrite-bars {text}: FIRST-LAST, from 1 to {bars}, such as 1-{min(4, bars)}")
    return (int(found[1]) - 1) * bar, min(int(found[2]) * bar, steps)
