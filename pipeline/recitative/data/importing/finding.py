"""Recordings by the names that a table has for them.

Tables move between machines: names come back in another Unicode form (macOS decomposes accents), with ``\\`` between
folders, in another case, or without a suffix. Such a name is followed if only one file can be meant.
"""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from recitative.audio.files import SUFFIXES
from recitative.reading import is_file, shown

_MOST_COMPARED = 20_000  # names of a folder, when the nearest is looked for


class Finder:
    """Looks in several folders; ``renamed`` holds the (name, file) pairs whose spelling differs."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self.renamed: list[tuple[str, Path]] = []

    def find(self, name: str) -> Path | None:
        """The file of that name, with a suffix if it has none; None if there is none, or several could be meant."""
        for folder in self._folders:
            for suffix in _suffixes(name):
                if is_file(folder / f"{name}{suffix}"):
                    return folder / f"{name}{suffix}"
        for folder in self._folders:
            found = list(self._alike(folder, _parts(name)))
            if len(found) == 1:
                self.renamed.append((name, found[0]))
                return found[0]
            if found:
                return None
        return None

    def nearest(self, name: str) -> str:
        """The name of a file that is spelled most like it; empty if none is."""
        *parents, last = _parts(name) or [""]
        for base in self._folders:
            for folder in (base.joinpath(*parents), base) if parents else (base,):
                listing = self._listing(folder)
                if len(listing) <= _MOST_COMPARED and (near := difflib.get_close_matches(_folded(last), listing, n=1)):
                    return shown(listing[near[0]][0])
        return ""

    def note(self, table: Path) -> list[str]:
        """One line for all names that are spelled differently."""
        if not self.renamed:
            return []
        name, path = self.renamed[0]
        found = f"{table}: recordings whose files are spelled differently (case, accents, '\\' or suffix)"
        return [f"{found}: {len(self.renamed)}, first '{shown(path.name)}' for '{shown(name)}'"]

    def _alike(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        if not parts:
            return
        if len(parts) > 1:
            for name in self._listing(folder).get(_folded(parts[0]), ()):
                yield from self._alike(folder / name, parts[1:])
            return
        for suffix in _suffixes(parts[0]):
            for name in self._listing(folder).get(_folded(f"{parts[0]}{suffix}"), ()):
                if is_file(folder / name):
                    yield folder / name

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        """Folded name -> names; empty for what is no folder."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = defaultdict(list)
            try:
                for name in sorted(os.listdir(folder)):
                    listing[_folded(name)].append(name)
            except (OSError, ValueError):
                pass
            self._listings[folder] = listing
        return self._listings[folder]


def has_suffix(name: str) -> bool:
    """Whether a name ends as those of recordings do."""
    return Path(name).suffix.lower() in SUFFIXES


def _suffixes(name: str) -> list[str]:
    return [""] if has_suffix(name) else ["", *sorted(SUFFIXES)]


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
