"""What a user asks of new notes, from the words of the command line."""

from __future__ import annotations

import re

from recitative.errors import UsageError
from recitative.lm.sampling import Sampling
from recitative.music.composition import Key
from recitative.music.piece import HIGHEST, LOWEST

TONICS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1, "": 0}


def parse_key(text: str) -> Key | None:
    """G, Bb, F#m, 'e minor', a; nothing is any key. Raises UsageError for anything else."""
    if not text:
        return None
    found = re.fullmatch(r"([A-Ga-g])([#b♯♭]?)\s*(m|min|minor|maj|major|)", text.strip())
    if not found:
        raise UsageError(f"--key {text}: is no key; such as C, Bb, F#m or 'e minor'")
    tonic = TONICS[found[1].lower()] + ACCIDENTALS[found[2]]
    return Key(tonic % 12, found[3] in ("m", "min", "minor"))


def parse_pitches(text: str) -> tuple[int, int]:
    """LOW-HIGH, MIDI numbers; nothing is any. Raises UsageError for anything else."""
    if not text:
        return LOWEST, HIGHEST
    found = re.fullmatch(r"(\d+)-(\d+)", text.strip())
    if not found or not int(found[1]) <= int(found[2]) <= HIGHEST:
        raise UsageError(f"--pitches {text}: LOW-HIGH, MIDI numbers up to {HIGHEST}, such as 60-84; 60 is middle C")
    return int(found[1]), int(found[2])


def parse_sampling(temperature: float, top_p: float, likeliest: str = "the likeliest note") -> Sampling:
    """Raises UsageError for numbers that make no distribution."""
    if not temperature > 0:
        raise UsageError(f"--temperature {temperature:g}: must be above 0; 0.1 is nearly always {likeliest}")
    if not 0 < top_p <= 1:
        raise UsageError(f"--top-p {top_p:g}: must be above 0 and at most 1")
    return Sampling(temperature, top_p)
