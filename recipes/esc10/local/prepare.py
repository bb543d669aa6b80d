"""Make one data directory from ESC-10 or ESC-50, and the table of its official folds.

    python3 local/prepare.py --corpus DIR --output data

DIR has '001 - Dog bark/{fold}-{source}-{take}.ogg' and so on (ESC-10), or meta/esc50.csv and audio/ (ESC-50). The
label is the kind of sound, as one word. The speaker is the source, the recording at freesound.org that the clip was
cut from. Writes OUTPUT/all and OUTPUT/folds.txt, with lines of 'utterance fold'.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recitative.atomic import write_text
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, Problem, RecitativeError
from recitative.reading import read_text

KIND = re.compile(r"\d{3} - (.+)")
CLIP = re.compile(r"(?P<fold>[1-5])-(?P<source>\d+)-(?P<take>[A-Z])(?:-\d+)?")
SUFFIXES = (".ogg", ".wav", ".flac")


@dataclass(frozen=True)
class Clip:
    """A recording with its kind of sound."""

    path: Path
    kind: str
    fold: str
    source: str
    take: str

    @property
    def utterance(self) -> Utterance:
        utt_id = f"{self.source}-{self.take}-{self.kind}"
        return Utterance(utt_id, self.source, str(self.path.resolve()), text=self.kind)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of ESC-10 or ESC-50")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directory")
    arguments = parser.parse_args()
    try:
        prepare(arguments.corpus, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(corpus: Path, output: Path) -> None:
    """Write the data directory and the folds. Raises one DataError for all missing or misnamed clips."""
    clips = {clip.utterance.utt_id: clip for clip in _clips(corpus)}
    utterances = tuple(sorted((clip.utterance for clip in clips.values()), key=lambda one: one.utt_id))
    DataDirectory(utterances).write(output / "all")
    write_text(output / "folds.txt", "".join(f"{one.utt_id} {clips[one.utt_id].fold}\n" for one in utterances))
    kinds, folds = {clip.kind for clip in clips.values()}, {clip.fold for clip in clips.values()}
    counts = f"{len(clips)} clips of {len(kinds)} kinds in {len(folds)} folds"
    print(f"{output / 'all'}: {counts}", file=sys.stderr)


def _clips(corpus: Path) -> list[Clip]:
    table = corpus / "meta" / "esc50.csv"
    found = list(_clips_of_table(corpus, table) if table.exists() else _clips_of_folders(corpus))
    if problems := [one for one in found if isinstance(one, Problem)]:
        raise DataError.collect(problems)
    clips = [one for one in found if isinstance(one, Clip)]
    if not clips:
        allowed = "'001 - Dog bark' and other kinds, or meta/esc50.csv"
        raise DataError(str(corpus), "has no clips", allowed, "pass the folder of ESC-10 or ESC-50 as --corpus")
    return clips


def _clips_of_folders(corpus: Path) -> Iterator[Clip | Problem]:
    """ESC-10: the folder's name is the kind, the file's name has the rest."""
    for path in sorted(corpus.glob("*/*")):
        kind, name = KIND.fullmatch(path.parent.name), CLIP.fullmatch(path.stem)
        if not kind or path.suffix not in SUFFIXES:
            continue
        if name:
            yield Clip(path, kind[1].lower().replace(" ", "_"), name["fold"], name["source"], name["take"])
        else:
            yield Problem(str(path), "has another name", "{fold 1 to 5}-{source}-{take}", "rename or remove it")


def _clips_of_table(corpus: Path, table: Path) -> Iterator[Clip | Problem]:
    """ESC-50: the table has everything."""
    with io.StringIO(read_text(table), newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            path = corpus / "audio" / (row.get("filename") or "")
            if not {"filename", "fold", "category", "src_file", "take"} <= row.keys():
                found = "lacks a column"
                yield Problem(
                    f"{table}:{number}", found, "filename, fold, category, src_file, take", "download it again"
                )
                return
            if path.is_file():
                yield Clip(path, row["category"], row["fold"], row["src_file"], row["take"])
            else:
                yield Problem(f"{table}:{number}", f"audio/{row['filename']} does not exist", "", "download it again")


if __name__ == "__main__":
    sys.exit(main())
