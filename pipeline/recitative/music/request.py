"""What users ask of a model of music: keys, voices and bars by name, and the requests that a server gets."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recitative.errors import DataError, UsageError
from recitative.lm.sampling import Sampling
from recitative.music.composer import EventScorer, MusicScorer, OnProgress, Span
from recitative.music.composition import (
    FILLING_TEMPERATURE,
    TICKS_PER_STEP,
    Constraints,
    EventConstraints,
    GenerationRequest,
    Key,
    blank,
    blank_events,
    compose,
    compose_events,
    on_grid,
    to_continue,
    to_rewrite,
)
from recitative.music.midi import midi_bytes, parse_midi
from recitative.music.piece import SILENT, VOICES, Note, Piece, pitch_name, separated
from recitative.music.settings import MAX_REQUESTED_BARS, FrameSettings, MusicRequest

QUARTERS_PER_MINUTE = 100.0  # of new pieces

TONICS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1, "": 0}


def parse_key(text: str, name: str = "--key") -> Key | None:
    """Parse a key such as G, Bb, F#m or 'e minor'; None for ''. Raises UsageError for anything else."""
    if not text:
        return None
    found = re.fullmatch(r"([A-Ga-g])([#b♯♭]?)\s*(m|min|minor|maj|major|)", text.strip())
    if not found:
        raise UsageError(f"{name} {text}: not a key; use one such as C, Bb, F#m or 'e minor'")
    tonic = TONICS[found[1].lower()] + ACCIDENTALS[found[2]]
    return Key(tonic % 12, found[3] in ("m", "min", "minor"))


# Given pieces: voices and bars of MIDI and ABC files


@dataclass(frozen=True)
class EditOptions:
    """harmonize: the given voice; rewrite: voices to regenerate, in the bars ``rewrite_bars``; bars: new ones; voice:
    that of a file to harmonize.

    Raises UsageError for options that exclude each other.
    """

    harmonize: str
    rewrite: str
    rewrite_bars: str
    bars: int
    voice: str = ""
    bars_name: str = "--rewrite-bars"  # in errors

    def __post_init__(self) -> None:
        if self.harmonize and self.rewrite:
            raise UsageError("--harmonize and --rewrite: give only one of them")
        if self.rewrite_bars and not self.rewrite:
            raise UsageError("--rewrite-bars: requires --rewrite with the voices")
        if self.voice and not self.harmonize:
            raise UsageError("--voice: requires --harmonize")

    @property
    def option(self) -> str:
        """The option that requires a model that fills in notes; '' for none."""
        return "--harmonize" if self.harmonize else "--rewrite" if self.rewrite else ""


def request_of(
    piece: Piece, edit: EditOptions, frames: FrameSettings, tell: Callable[[str], None] = lambda line: None
) -> GenerationRequest:
    """What is to be generated. tell: takes lines on what was read of the piece.

    Raises UsageError for voices and bars that do not exist, DataError for notes that the model does not know.
    """
    bar = round(piece.notation.bar_quarters * frames.steps_per_quarter) if piece.notation.meter else frames.bar
    if edit.harmonize:
        voice = _voice(edit.harmonize, frames.voices)
        melody = _melody(piece, edit, voice, frames, tell)
        return to_rewrite(melody, frames, [v for v in range(frames.voices) if v != voice])
    if piece.voices != frames.voices:
        if piece.voices > frames.voices and not frames.sets:
            tell(f"{piece.name}: its {piece.voices} voices are read as {frames.voices}")
        piece = separated(piece, frames.voices)
        piece = replace(piece, notation=replace(piece.notation, parts=()))
    if not edit.rewrite:
        return to_continue(piece, frames, edit.bars * bar)
    voices = (
        list(range(frames.voices))
        if edit.rewrite == "all"
        else [_voice(name, frames.voices) for name in edit.rewrite.split(",")]
    )
    first, last = _span(edit, bar, -(-piece.length // TICKS_PER_STEP))
    return to_rewrite(piece, frames, voices, first, last)


def _melody(piece: Piece, edit: EditOptions, voice: int, frames: FrameSettings, tell: Callable[[str], None]) -> Piece:
    """The voice of a file that is harmonized, as voice ``voice``. Tells which one it is."""
    numbers = sorted({note.voice for note in piece.notes})
    named = [f"{number + 1} {piece.notation.part(number)}".strip() for number in numbers]
    order = "" if any(piece.notation.parts) else ", from the highest"
    listed = f"{piece.name} has {len(numbers)} voice{'s' * (len(numbers) > 1)} ({', '.join(named)}{order})"
    if not edit.voice and len(numbers) > 1:
        raise UsageError(f"{listed}; choose the one to harmonize, such as --voice {named[0].split(maxsplit=1)[-1]}")
    wanted = edit.voice.strip().lower()
    taken = [
        number for number in numbers if not wanted or wanted in (str(number + 1), piece.notation.part(number).lower())
    ] or [VOICES.index(wanted) for _ in range(len(numbers) == len(VOICES) and wanted in VOICES)]
    if not taken:
        raise UsageError(f"--voice {edit.voice}: {listed}; give its number or name")
    notes = tuple(replace(note, voice=voice) for note in piece.notes if note.voice == taken[0])
    low, high = min(note.pitch for note in notes), max(note.pitch for note in notes)
    of = f"voice {taken[0] + 1} of {len(numbers)}" if len(numbers) > 1 else "its only voice"
    name = piece.notation.part(taken[0])
    called = f" ('{name}')" if name else ""
    role = VOICES[voice] if frames.voices == len(VOICES) else f"voice {voice + 1}"
    found = f"{len(notes)} notes from {pitch_name(low)} to {pitch_name(high)}"
    tell(f"{piece.name}: {of}{called} is the {role}: {found}")
    if frames.ranges and not frames.ranges[voice][0] <= low <= high <= frames.ranges[voice][1]:
        allowed = " to ".join(pitch_name(pitch) for pitch in frames.ranges[voice])
        tell(f"{piece.name}: beyond the range of a {role}, {allowed}; the voices may cross")
    parts = tuple(name if number == voice else "" for number in range(voice + 1)) if name else ()
    return replace(piece, notes=notes, notation=replace(piece.notation, parts=parts))


def _voice(name: str, voices: int) -> int:
    """The index of a voice, from its name or its number from 1."""
    name = name.strip().lower()
    if voices == len(VOICES) and name in VOICES:
        return VOICES.index(name)
    if name.isdigit() and 1 <= int(name) <= voices:
        return int(name) - 1
    named = f"{', '.join(VOICES)}, or " if voices == len(VOICES) else ""
    raise UsageError(f"'{name}': not a voice; use {named}1 to {voices}")


def _span(edit: EditOptions, bar: int, steps: int) -> tuple[int, int]:
    text = edit.rewrite_bars
    if not text:
        return 0, -1
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    bars = -(-steps // bar)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= bars:
        raise UsageError(f"{edit.bars_name} {text}: FIRST-LAST, from 1 to {bars}, such as 1-{min(4, bars)}")
    return (int(found[1]) - 1) * bar, min(int(found[2]) * bar, steps)


# Requests to a server

GIBBS_STEPS = 100
LARGEST_SEED = 2**32


def suits(scorer: MusicScorer | EventScorer, request: MusicRequest) -> bool:
    """Whether a model can do what is asked."""
    return _fills(scorer) == (request.mode != "continue")


def answer(
    scorer: MusicScorer | EventScorer, request: MusicRequest, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """The seed, the tempo, the notes in seconds, and the piece as MIDI. Equal requests with a seed give equal answers.

    Raises DataError for MIDI that cannot be read or used, UsageError for what the model cannot do.
    """
    if not suits(scorer, request):
        does = "fills in notes: its modes are 'harmonize' and 'fill'" if _fills(scorer) else "only continues music"
        raise UsageError(f"mode '{request.mode}': this model {does}")
    seed = secrets.randbelow(LARGEST_SEED) if request.seed is None else request.seed
    temperature = request.temperature or (FILLING_TEMPERATURE if _fills(scorer) else 1.0)
    sampling = Sampling(temperature, request.top_p)
    if isinstance(scorer, EventScorer):
        piece = _of_events(scorer, request, sampling, seed, on_progress)
    else:
        piece = _of_voices(scorer, request, sampling, seed, on_progress)
    notes = [
        {
            "start": round(note.start * piece.step_s, 4),
            "end": round(note.end * piece.step_s, 4),
            "pitch": note.pitch,
            "voice": note.voice,
        }
        for note in piece.notes
    ]
    midi = b64encode(midi_bytes(piece)).decode()
    return {"seed": seed, "tempo": piece.quarters_per_minute, "notes": notes, "midi": midi}


def _fills(scorer: MusicScorer | EventScorer) -> bool:
    return isinstance(scorer, MusicScorer) and scorer.fills


def _of_voices(
    scorer: MusicScorer, request: MusicRequest, sampling: Sampling, seed: int, on_progress: OnProgress | None
) -> Piece:
    frames = scorer.frames
    piece = _given(request, frames.steps_per_quarter)
    edit = EditOptions(
        request.voice if request.mode == "harmonize" else "",
        request.voices if request.mode == "fill" else "",
        request.fill_bars,
        request.bars,
        bars_name="fill_bars",
    )
    if request.mode == "harmonize" and piece is None:
        raise UsageError("mode 'harmonize': needs 'midi' with the voice that is harmonized")
    if request.mode == "harmonize" and piece and (count := len({note.voice for note in piece.notes})) > 1:
        raise DataError("midi", f"has {count} voices", "only the voice to harmonize", "leave the others out")
    if piece is None:
        asked = blank(frames, request.bars * frames.bar, "piece", request.tempo or QUARTERS_PER_MINUTE)
    elif request.mode == "fill" and not request.voices:
        asked = _around(piece, frames)
    else:
        asked = request_of(piece, edit, frames)
    _require_bars(len(asked.free) / frames.bar)
    asked = _keeping(asked, request, frames)
    constraints = Constraints(parse_key(request.key, "key"), request.rests)
    return compose(
        scorer, asked, constraints, sampling, count=1, seed=seed, gibbs_steps=GIBBS_STEPS, on_progress=on_progress
    )[0]


def _of_events(
    scorer: EventScorer, request: MusicRequest, sampling: Sampling, seed: int, on_progress: OnProgress | None
) -> Piece:
    events = scorer.events
    if request.notes:
        raise UsageError("notes: a model of events cannot keep notes ahead; use a model of voices")
    given = _given(request, events.steps_per_quarter)
    span = Span(request.bars * events.bar, events.bar if given else 0)
    context = given or blank_events(events, "piece", request.tempo or QUARTERS_PER_MINUTE)
    _require_bars(request.bars + context.length / TICKS_PER_STEP / events.bar)
    constraints = EventConstraints(parse_key(request.key, "key"))
    return compose_events(scorer, context, constraints, span, sampling, count=1, seed=seed, on_progress=on_progress)[0]


def _given(request: MusicRequest, steps_per_quarter: int) -> Piece | None:
    """The piece of the request, in ticks."""
    if not request.midi:
        return None
    try:
        content = b64decode(request.midi, validate=True)
    except ValueError:
        raise DataError("midi", "is not base64", "the bytes of a MIDI file in base64", "") from None
    piece = parse_midi(content, "midi", steps_per_quarter * TICKS_PER_STEP)
    return replace(piece, quarters_per_minute=request.tempo or piece.quarters_per_minute, name="piece")


def _around(piece: Piece, frames: FrameSettings) -> GenerationRequest:
    """All notes of a piece are kept, and new ones written where voices are silent."""
    steps = -(-piece.length // TICKS_PER_STEP)
    given = replace(piece, length=steps * TICKS_PER_STEP)
    context = on_grid(given, frames)
    return GenerationRequest(given, context == SILENT, context)


def _keeping(asked: GenerationRequest, request: MusicRequest, frames: FrameSettings) -> GenerationRequest:
    """With the notes that are to stand in the piece, in the place of new ones."""
    if not request.notes:
        return asked
    tick_s, length = asked.given.step_s, len(asked.free) * TICKS_PER_STEP
    kept = [
        Note(
            round(note.start / tick_s),
            note.pitch,
            max(1, round(note.end / tick_s) - round(note.start / tick_s)),
            note.voice,
        )
        for note in request.notes
    ]
    if outside := [note for note in kept if note.end > length or note.voice >= frames.voices]:
        found = f"a note of voice {outside[0].voice} that ends at {outside[0].end * tick_s:.2f} s"
        allowed = f"voices 0 to {frames.voices - 1}, and {length * tick_s:.2f} s"
        raise DataError("notes", found, allowed, "leave it out, or ask for more bars")
    context = on_grid(replace(asked.given, notes=tuple(sorted(kept)), length=length), frames)
    new = asked.free & (context != SILENT)
    if not np.array_equal(new, context != SILENT):
        raise DataError("notes", "one stands where notes are given already", "only where new notes are written", "")
    notes = tuple(sorted([*asked.given.notes, *kept]))
    return GenerationRequest(
        replace(asked.given, notes=notes), asked.free & ~new, np.where(new, context, asked.context)
    )


def _require_bars(bars: float) -> None:
    """Raises UsageError for a piece that is too long for a server."""
    if bars > MAX_REQUESTED_BARS:
        raise UsageError(
            f"a piece of {bars:.0f} bars: at most {MAX_REQUESTED_BARS}; give a shorter one, or less 'bars'"
        )
