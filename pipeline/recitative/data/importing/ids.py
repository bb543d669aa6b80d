"""Ids of speakers, utterances and recordings: without blanks, unique, the same every time, and in Kaldi's order."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 32  # letters of a speaker's id: Common Voice's have 128 digits
SEPARATOR = "-"
"""Sorts before all that a speaker's id may hold, so that sorting by utterance also sorts by speaker."""

_NOT_OF_SPEAKER = re.compile(r"[^\w.]")  # the separator included
_NOT_OF_NAME = re.compile(r"[^\w.\-]")


def speaker_ids(speakers: Sequence[str]) -> dict[str, str]:
    """Speaker -> id of letters, digits, '_' and '.'. A digest of the name tells apart those that would be equal."""
    cleaned = {speaker: _cleaned_speaker(speaker) for speaker in dict.fromkeys(speakers)}
    times = Counter(cleaned.values())
    return {
        speaker: name if times[name] == 1 or name == speaker else f"{name}_{digest(speaker)}"
        for speaker, name in cleaned.items()
    }


def utterance_ids(speakers: Sequence[str], names: Sequence[str], places: Sequence[str]) -> list[str]:
    """An id for each utterance from its speaker's id and its name.

    places: what is certainly another for each, such as path and time; its digest is added to ids that would be equal.
    """
    ids = [_utterance_id(speaker, name) for speaker, name in zip(speakers, names, strict=True)]
    return _distinct(ids, places)


def recording_ids(names: Sequence[str], places: Sequence[str]) -> list[str]:
    """An id for each recording from the name of its file."""
    return _distinct([_NOT_OF_NAME.sub("_", name) for name in names], places)


def digest(text: str) -> str:
    """Eight hexadecimal digits that depend on the whole text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def _cleaned_speaker(speaker: str) -> str:
    name = _NOT_OF_SPEAKER.sub("_", speaker)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}_{digest(speaker)}"


def _utterance_id(speaker: str, name: str) -> str:
    """'anna' and '01' -> 'anna-01'; 'anna' and 'anna_01' too."""
    name = _NOT_OF_NAME.sub("_", name)
    rest = name.removeprefix(speaker)
    if rest != name and (not rest or rest[0] in "-_."):
        name = rest.lstrip("-_.")
    return f"{speaker}{SEPARATOR}{name}" if name else speaker


def _distinct(ids: Sequence[str], places: Sequence[str]) -> list[str]:
    times = Counter(ids)
    return [one if times[one] == 1 else f"{one}-{digest(place)}" for one, place in zip(ids, places, strict=True)]
