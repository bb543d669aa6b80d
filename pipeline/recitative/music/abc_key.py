"""Key signatures of ABC notation: which letters a key raises or lowers.

abcnotation.com, standard 2.1, section 3.1.14: a tonic, a mode, and accidentals that are added to those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LETTERS = "CDEFGAB"
ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}  # semitones

_SHARPS = "FCGDAEB"  # the order in which sharps are added; flats come from its end
_MAJOR = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}  # sharps of the major keys; below 0: flats
_SIGN = {"": 0, "#": 7, "b": -7}
_MODES = {"maj": 0, "ion": 0, "min": -3, "aeo": -3, "mix": -1, "dor": -2, "phr": -4, "lyd": 1, "loc": -5}
_HIGHLAND = {"HP": {}, "Hp": {"F": 1, "C": 1}}  # the bagpipe's two notations
_KEY = re.compile(r"(?P<tonic>[A-G])(?P<sign>[#b]?)\s*(?P<mode>[A-Za-z]*)(?P<rest>.*)")
_OPTION = re.compile(r"[A-Za-z-]{2,}=\S+|treble\S*|bass\S*|alto\S*|tenor\S*|perc\S*|none\b")
_ADDED = re.compile(r"(\^\^|__|\^|_|=)([A-Ga-g])")


def key_signature(text: str) -> Mapping[str, int]:
    """The content of a K: field -> semitones by letter; a letter that is missing is natural.

    Clefs and options such as 'transpose=' are ignored. Raises ValueError for what is no key.
    """
    bare = _OPTION.sub("", text).strip()
    if not bare:
        return {}
    if bare in _HIGHLAND:
        return dict(_HIGHLAND[bare])
    match = _KEY.fullmatch(bare)
    if match is None:
        return _added(bare, text)
    mode, rest = match["mode"].lower(), match["rest"]
    if mode == "exp":
        return _added(rest, text)
    return _signature(match["tonic"], match["sign"], mode, text) | _added(rest, text)


def _signature(tonic: str, sign: str, mode: str, text: str) -> dict[str, int]:
    shift = _mode_shift(mode)
    if shift is None or abs(sharps := _MAJOR[tonic] + _SIGN[sign] + shift) > 7:
        raise ValueError(f"'{text}' is no key")
    if sharps >= 0:
        return dict.fromkeys(_SHARPS[:sharps], 1)
    return dict.fromkeys(_SHARPS[sharps:], -1)


def _mode_shift(mode: str) -> int | None:
    """In sharps, against the major key; only the first three letters of a mode count, and m is minor."""
    return {"": 0, "m": -3}.get(mode, _MODES.get(mode[:3]))


def _added(text: str, whole: str) -> dict[str, int]:
    left = _ADDED.sub("", text).strip()
    if left not in ("", "exp"):
        raise ValueError(f"'{whole}' is no key")
    return {letter.upper(): ACCIDENTALS[accidental] for accidental, letter in _ADDED.findall(text)}
