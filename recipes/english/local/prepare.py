"""Make the data directories train, dev, dev_short, test and unlabeled from folders of English recordings.

    python3 local/prepare.py --corpus DIR [--corpus DIR ...] --left-out local/left_out.txt --output data \
        [--every N] [--choose-by N]

corpora.py describes the kinds of folder. Train combines the train sets of all folders. Dev and test are those of the
first folder that has them; others are left out and counted. Text becomes lower case with numbers written out; it may
contain a-z, the apostrophe and the space. Recordings are resampled to 16 kHz. Utterances listed in --left-out are
left out and counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corpora import SETS, Corpus, read_corpus
from numbers_as_words import spoken

from recitative.data.directory import DataDirectory
from recitative.data.importing import ImportOptions, import_corpus
from recitative.data.parallel import available_cores
from recitative.data.sources import Entry, Source
from recitative.errors import DataError, Problem, RecitativeError, counted
from recitative.reading import read_text
from recitative.terminal import progress_bar
from recitative.text.normalize import normalize

CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz' ")
NOT_SPOKEN = "-"  # transcript of unlabeled recordings during the import; removed afterwards


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, action="append", required=True, help="a folder of recordings")
    parser.add_argument("--left-out", type=Path, required=True, help="file with 'utterance reason' lines")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--every", type=int, default=1, help="only every N-th utterance of each set (default: all)")
    parser.add_argument("--choose-by", type=int, default=300, help="utterances of dev_short (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        sets = gather([read_corpus(root) for root in arguments.corpus])
        sets["train"] = leave_out(sets["train"], arguments.left_out)
        write_sets({name: entries[:: arguments.every] for name, entries in sets.items()}, arguments.output)
        write_short(arguments.output, arguments.choose_by)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def gather(corpora: Sequence[Corpus]) -> dict[str, list[Entry]]:
    """Combine the sets of all folders. Raises DataError if train, dev or test is empty."""
    sets: dict[str, list[Entry]] = {name: [] for name in SETS}
    for corpus in corpora:
        for note in corpus.notes:
            print(note, file=sys.stderr)
        for name, entries in corpus.sets.items():
            if name in ("dev", "test") and sets[name] and entries:
                print(
                    f"{corpus.root}: {counted(len(entries), 'utterance')} of {name} left out: another folder has it",
                    file=sys.stderr,
                )
            else:
                sets[name] += entries
    for name in ("train", "dev", "test"):
        if not sets[name]:
            found = f"no utterances of {name}"
            raise DataError(str(corpora[0].root), found, "at least one", "add a --corpus that has some")
    return sets


def leave_out(train: Sequence[Entry], path: Path) -> list[Entry]:
    """Remove the utterances listed in a file from train; print their number by reason."""
    reasons = {}
    for line in read_text(path).splitlines():
        if words := line.split("#", 1)[0].split():
            reasons[words[0]] = words[1]
    found: dict[str, int] = {}
    for entry in train:
        if reason := reasons.get(entry.name):
            found[reason] = found.get(reason, 0) + 1
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(found.items()))
    print(
        f"{path}: {counted(sum(found.values()), 'utterance')} of train left out ({counts or 'none'})", file=sys.stderr
    )
    return [entry for entry in train if entry.name not in reasons]


def write_sets(sets: dict[str, list[Entry]], output: Path) -> None:
    """Write the data directories output/{train,dev,test,unlabeled} that have utterances."""
    said = {name: [_said(entry, name) for entry in entries] for name, entries in sets.items() if entries}
    problems = [problem for name in said if name != "unlabeled" for entry in said[name] if (problem := _fault(entry))]
    if problems:
        raise DataError.collect(problems)
    for name, entries in said.items():
        options = ImportOptions(rules=None, jobs=available_cores())
        with progress_bar(f"import {name}") as show:
            made = import_corpus(Source(output / name, tuple(entries)), output / name, options, show)
        if name == "unlabeled":
            DataDirectory(tuple(replace(u, text=None) for u in made.directory.utterances)).write(output / name)
        words = sum(len(entry.text.split()) for entry in entries)
        counts = f"{len(entries)} utterances, {words} words, {len(made.directory.by_speaker)} speakers"
        hours = f"{made.seconds / 3600:.2f} h, {made.converted} recordings converted"
        print(f"{output / name}: {counts}, {hours}", file=sys.stderr)


def write_short(output: Path, wanted: int) -> None:
    """Write output/dev_short: about ``wanted`` utterances, evenly spread over dev."""
    dev = DataDirectory.read(output / "dev")
    every = max(1, len(dev.utterances) // max(wanted, 1))
    short = dev.with_utterances(dev.utterances[::every])
    short.write(output / "dev_short")
    print(f"{output / 'dev_short'}: {len(short.utterances)} utterances, for model selection", file=sys.stderr)


def _said(entry: Entry, name: str) -> Entry:
    return replace(entry, text=NOT_SPOKEN if name == "unlabeled" else normalize(spoken(entry.text)))


def _fault(entry: Entry) -> Problem | None:
    unknown = sorted(set(entry.text) - CHARACTERS)
    if not unknown:
        return None
    signs = ", ".join(map(repr, unknown))
    return Problem(entry.where, f"has {signs}", "letters, the apostrophe and the space", "correct the text")


if __name__ == "__main__":
    sys.exit(main())
