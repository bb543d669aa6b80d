"""Make the data directories train, dev and test from the collection of read English.

    python3 local/prepare.py --corpus DIR --dev-speakers local/dev_speakers.txt --left-out local/left_out.txt \
        --output data [--subset N]

DIR holds manifest.tsv (utt_id speaker set seconds text audio) and the recordings. Test is the official test set of
speechocean762. Dev is the speakers of a fixed list, held out of train. Text becomes lower case; a-z, the apostrophe
and the space are all it may hold. What has a wrong transcript is left out by name, and counted.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, Problem, RecitativeError
from recitative.reading import read_text

COLUMNS = ("utt_id", "speaker", "set", "seconds", "text", "audio")
SETS = ("train", "dev", "test")
CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz' ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with manifest.tsv and the recordings")
    parser.add_argument("--dev-speakers", type=Path, required=True, help="file with one speaker a line")
    parser.add_argument("--left-out", type=Path, required=True, help="file with 'utterance reason' lines")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--subset", type=int, default=0, help="only the first N utterances of each speaker (0: all)")
    arguments = parser.parse_args()
    try:
        sets = read_corpus(arguments.corpus)
        leave_out(sets["train"], arguments.left_out)
        hold_out(sets, arguments.dev_speakers)
        write_sets(sets, arguments.output, arguments.subset)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def read_corpus(corpus: Path) -> dict[str, dict[str, Utterance]]:
    """The manifest's train and test and an empty dev, by utterance. Raises one DataError with every line at fault."""
    sets: dict[str, dict[str, Utterance]] = {name: {} for name in SETS}
    problems: list[Problem] = []
    for where, row in _read_manifest(corpus / "manifest.tsv"):
        if found := _fault(row):
            problems.append(Problem(where, found, "", "correct the line"))
            continue
        audio = str(corpus.resolve() / row["audio"])
        text = " ".join(row["text"].lower().split())
        sets[row["set"]][row["utt_id"]] = Utterance(row["utt_id"], row["speaker"], audio, text=text)
    if problems:
        raise DataError.collect(problems)
    return sets


def leave_out(train: dict[str, Utterance], path: Path) -> None:
    """Remove the utterances of a file from train, and count them by their reason."""
    reasons: dict[str, int] = {}
    for line in _read_list(path):
        name, reason = line.split()
        if name not in train:
            raise DataError(str(path), f"utterance '{name}' is not in train", "", "correct the list")
        del train[name]
        reasons[reason] = reasons.get(reason, 0) + 1
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    print(f"{path}: {sum(reasons.values())} utterances left out ({counts})", file=sys.stderr)


def hold_out(sets: dict[str, dict[str, Utterance]], dev_speakers: Path) -> None:
    """Move the speakers of a file from train to dev."""
    held_out = set(_read_list(dev_speakers))
    unknown = held_out - {u.speaker for u in sets["train"].values()}
    if unknown:
        raise DataError(str(dev_speakers), f"speaker '{min(unknown)}' is not in train", "", "correct the list")
    sets["dev"] = {name: u for name, u in sets["train"].items() if u.speaker in held_out}
    sets["train"] = {name: u for name, u in sets["train"].items() if u.speaker not in held_out}


def write_sets(sets: Mapping[str, Mapping[str, Utterance]], output: Path, subset: int) -> None:
    """Write output/{train,dev,test}, at most ``subset`` utterances of each speaker (0: all)."""
    for name, utterances in sets.items():
        directory = DataDirectory(tuple(sorted(utterances.values())))
        if subset > 0:
            directory = directory.with_utterances([u for us in directory.by_speaker.values() for u in us[:subset]])
        directory.write(output / name)
        words = sum(len(text.split()) for text in directory.texts.values())
        characters = "".join(sorted({sign for text in directory.texts.values() for sign in text if sign != " "}))
        counts = f"{len(directory.utterances)} utterances, {words} words, {len(directory.by_speaker)} speakers"
        print(f"{output / name}: {counts}; characters {characters} and the space", file=sys.stderr)


def _read_manifest(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(where it stands, the row) of each line."""
    lines = read_text(path, "", "give --corpus the corpus").splitlines()
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise DataError(f"{path}:1", "other columns", " ".join(COLUMNS), "give --corpus the collection")
    for row in rows:
        yield f"{path}:{rows.line_num}", row


def _fault(row: dict[str, str | None]) -> str:
    """What is wrong with a row; empty if nothing is."""
    if any(value is None for value in row.values()):
        return "too few columns"
    if row["set"] not in ("train", "test"):
        return f"set '{row['set']}' instead of train or test"
    unknown = set(str(row["text"]).lower()) - CHARACTERS
    signs = ", ".join(map(repr, sorted(unknown)))
    return f"{signs} instead of letters, the apostrophe and the space" if signs else ""


def _read_list(path: Path) -> list[str]:
    """The lines of a file; '#' begins a comment."""
    lines = (line.split("#", 1)[0].strip() for line in read_text(path).splitlines())
    return [line for line in lines if line]


if __name__ == "__main__":
    sys.exit(main())
