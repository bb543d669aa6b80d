"""Read recordings and transcripts of English from four kinds of folder.

manifest.tsv    columns utt_id speaker set seconds text audio, others are ignored; set is train, dev, test or
                unlabeled; audio is a path relative to the folder
LibriSpeech     <part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt; all train-* are train, dev-clean and
                test-clean are dev and test, dev-other and test-other are left out
Common Voice    train.tsv, dev.tsv and test.tsv, with clips/
AN4             etc/an4_train.transcription and wav/ are train; the test set is left out
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recitative.data.sources import Entry, read_table
from recitative.errors import DataError, Problem, counted
from recitative.reading import read_text

SETS = ("train", "dev", "test", "unlabeled")
COLUMNS = ("utt_id", "speaker", "set", "seconds", "text", "audio")
PARTS = {"dev-clean": "dev", "test-clean": "test"}
AN4_LINE = re.compile(r"(?:<s> )?(.*?)(?: </s>)? \(([a-z0-9]+-([a-z0-9]+)-[a-z]*)\)")


@dataclass(frozen=True)
class Corpus:
    """The entries of each set, and notes on what was left out."""

    root: Path
    sets: dict[str, list[Entry]]
    notes: tuple[str, ...] = ()


def read_corpus(root: Path) -> Corpus:
    """Read a folder of any kind. Raises DataError for an unknown kind, or with every invalid line."""
    if (root / "manifest.tsv").is_file():
        return _read_manifest(root)
    if (root / "etc" / "an4_train.transcription").is_file():
        return _read_an4(root)
    if (root / "clips").is_dir() and (root / "train.tsv").is_file():
        return _read_common_voice(root)
    if parts := sorted(path for path in root.glob("*-*") if next(path.glob("*/*/*.trans.txt"), None)):
        return _read_librispeech(root, parts)
    allowed = "manifest.tsv, or the folders of LibriSpeech, Common Voice or AN4"
    raise DataError(str(root), "is not a known kind of corpus", allowed, "correct --corpus")


def _read_manifest(root: Path) -> Corpus:
    path = root / "manifest.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise DataError(f"{path}:1", "other columns", " ".join(COLUMNS), "name the columns in the first row")
        sets: dict[str, list[Entry]] = {name: [] for name in SETS}
        problems: list[Problem] = []
        for row in rows:
            where = f"{path}:{rows.line_num}"
            name = "unlabeled" if row["set"] == "unlabelled" else row["set"]  # both spellings are English
            if any(row[column] is None for column in COLUMNS):
                problems.append(Problem(where, "too few columns", f"{len(rows.fieldnames or ())}", "correct the line"))
            elif name not in SETS:
                problems.append(Problem(where, f"set '{name}'", ", ".join(SETS), "correct the line"))
            else:
                entry = Entry(where, root / row["audio"], row["text"], row["speaker"], row["utt_id"])
                sets[name].append(entry)
    if problems:
        raise DataError.collect(problems)
    return Corpus(root, sets)


def _read_librispeech(root: Path, parts: list[Path]) -> Corpus:
    sets: dict[str, list[Entry]] = {name: [] for name in SETS}
    notes = []
    for part in parts:
        name = "train" if part.name.startswith("train-") else PARTS.get(part.name, "")
        entries = [entry for path in sorted(part.glob("*/*/*.trans.txt")) for entry in _read_chapter(path)]
        if name:
            sets[name] += entries
        else:
            notes.append(
                f"{part}: {counted(len(entries), 'utterance')} left out; "
                "only dev-clean and test-clean are used to score"
            )
    return Corpus(root, sets, tuple(notes))


def _read_chapter(path: Path) -> Iterator[Entry]:
    speaker = path.parent.parent.name
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name, _, text = line.partition(" ")
        yield Entry(f"{path}:{number}", path.parent / f"{name}.flac", text, speaker, name)


def _read_common_voice(root: Path) -> Corpus:
    sets: dict[str, list[Entry]] = {name: [] for name in SETS}
    problems: list[Problem] = []
    for name in ("train", "dev", "test"):
        if (table := root / f"{name}.tsv").is_file():
            source = read_table(table, root)
            sets[name] += source.entries
            problems += source.bad
    if problems:
        raise DataError.collect(problems)
    return Corpus(root, sets)


def _read_an4(root: Path) -> Corpus:
    sets: dict[str, list[Entry]] = {name: [] for name in SETS}
    recordings = {path.stem: path for path in sorted((root / "wav").rglob("*")) if path.is_file()}
    path = root / "etc" / "an4_train.transcription"
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        where = f"{path}:{number}"
        found = AN4_LINE.fullmatch(line.strip())
        if not found:
            raise DataError(where, "no transcript", "'<s> WORDS </s> (id)'", "download AN4 again")
        text, name, speaker = found.groups()
        audio = recordings.get(name, root / "wav" / name)
        sets["train"].append(Entry(where, audio, text, f"an4_{speaker}", name))
    return Corpus(root, sets, (f"{root}: its test set is left out; recipes/an4 scores it",))
