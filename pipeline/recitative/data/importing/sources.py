"""Sources of recordings and transcripts: their entries, recordings by name, and folders with transcript files."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recitative.audio.files import SUFFIXES
from recitative.audio.recording import AudioSlice
from recitative.errors import DataError, Problem
from recitative.reading import decoded, is_file, read_bytes, shown


@dataclass(frozen=True)
class Entry:
    """One utterance as its source describes it, unchecked."""

    where: str  # location in the source: 'metadata.csv:17'
    audio: Path
    text: str
    speaker: str | None  # None: the source names no speakers
    name: str  # distinguishes it from the speaker's other utterances
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end of the recording
    channel: int | None = None  # from 0; None: all, averaged

    @property
    def recording(self) -> str:
        """The name of its recording: of a file, or within a tar."""
        return self.name if AudioSlice.parse(str(self.audio)) else self.audio.stem


@dataclass(frozen=True)
class Source:
    """The content of a source."""

    root: Path  # the path given by the user
    entries: tuple[Entry, ...]
    bad: tuple[Problem, ...] = ()  # one for every row that is not an entry
    notes: tuple[str, ...] = ()  # automatic decisions, for the user


def read_encoded(path: Path, encoding: str, wanted: str, remedy: str = "correct the path") -> str:
    """The text of a file without byte-order mark; encoding: empty for UTF-8, or UTF-16 with a mark.

    Raises DataError that names the likely encoding of a file that is not UTF-8.
    """
    content = read_bytes(path, wanted, remedy)
    if encoding:
        try:
            return content.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(f"{path}:{line}", f"is not {encoding}", "--encoding as the file has it", "") from None
    try:
        return decoded(content, str(path))
    except DataError as error:
        (problem,) = error.problems
        remedy = "if that is right, say --encoding cp1252" if "Windows-1252" in problem.found else "say --encoding NAME"
        raise DataError(problem.where, problem.found, problem.allowed, remedy) from None


_MAX_COMPARED = 20_000  # names of a folder in a search for the nearest


class Finder:
    """Finds recordings by the names in a table, in several folders.

    When tables move between machines, names change: another Unicode form (macOS decomposes accents), ``\\\\`` between
    folders, another case, a missing suffix. Such a name is resolved if only one file matches; ``renamed`` lists the
    (name, file) pairs.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self.renamed: list[tuple[str, Path]] = []

    def find(self, name: str) -> Path | None:
        """The file of that name, with a suffix if it has none; None if no file or several match."""
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
        """The most similar file name; empty if there is none."""
        *parents, last = _parts(name) or [""]
        for base in self._folders:
            for folder in (base.joinpath(*parents), base) if parents else (base,):
                listing = self._listing(folder)
                if len(listing) <= _MAX_COMPARED and (near := difflib.get_close_matches(_folded(last), listing, n=1)):
                    return shown(listing[near[0]][0])
        return ""

    def note(self, table: Path) -> list[str]:
        """One line for all names with another spelling."""
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
        """Folded name -> names; empty if it is not a folder."""
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
    """Whether a name has the suffix of a recording."""
    return Path(name).suffix.lower() in SUFFIXES


def _suffixes(name: str) -> list[str]:
    return [""] if has_suffix(name) else ["", *sorted(SUFFIXES)]


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def read_folder(folder: Path, encoding: str = "") -> Source:
    """A folder of recordings at any depth, each with a transcript: 'anna/01.wav' and 'anna/01.txt'. Speakers are the
    sub-folders, if there are any.

    Raises DataError for a folder without recordings, or without transcripts.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    recordings = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not recordings:
        raise DataError(str(folder), "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
    if not any(path.with_suffix(".txt").is_file() for path in recordings):
        raise _no_transcripts(folder, files)
    has_speakers = any(path.parent != folder for path in recordings)
    entries: list[Entry] = []
    bad: list[Problem] = []
    for path in recordings:
        try:
            text = read_encoded(path.with_suffix(".txt"), encoding, "a transcript beside each recording", "write it")
        except DataError as error:
            bad.extend(error.problems)
            continue
        first, *others = path.relative_to(folder).parts  # files outside sub-folders: the speaker is the whole folder
        speaker = (first if others else folder.resolve().name) if has_speakers else None
        entries.append(Entry(str(path), path, " ".join(text.split()), speaker, path.stem))
    return Source(folder, tuple(entries), tuple(bad), tuple(_lonely_texts(folder, files, recordings)))


def _no_transcripts(folder: Path, files: list[Path]) -> DataError:
    tables = [path for path in files if path.suffix.lower() in (".csv", ".tsv")]
    remedy = f"say '--table {tables[0]}'" if len(tables) == 1 else "name the table of transcripts with --table"
    allowed = "a .txt beside each recording, a table, or lhotse's manifests"
    return DataError(str(folder), "has recordings and no transcripts", allowed, remedy)


def _lonely_texts(folder: Path, files: list[Path], recordings: list[Path]) -> list[str]:
    """One note for all .txt files without a recording."""
    owned = {path.with_suffix(".txt") for path in recordings}
    lonely = [str(path.relative_to(folder)) for path in files if path.suffix == ".txt" and path not in owned]
    if not lonely:
        return []
    shown = ", ".join(lonely[:5])
    return [f"{folder}: .txt files without a recording beside them, not used: {len(lonely)} ({shown})"]
