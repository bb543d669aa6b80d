"""Make the data directories train, dev and test from the Free Spoken Digit Dataset.

    python3 local/prepare.py --corpus DIR --output data [--subset N]

DIR has recordings/{digit}_{speaker}_{index}.flac (or .wav). Test is the official set: indices 0 to 4 of each speaker
and digit. Dev has indices 5 to 9, train the others.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, Problem, RecitativeError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)")
SUFFIXES = (".flac", ".wav")
TEST, DEV = range(0, 5), range(5, 10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with recordings/")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--subset", type=int, default=0, help="only indices below N for train (0: all)")
    arguments = parser.parse_args()
    try:
        prepare(arguments.corpus, arguments.output, arguments.subset)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(corpus: Path, output: Path, subset: int = 0) -> None:
    """Write output/{train,dev,test}. Raises DataError for a folder without recordings, or with misnamed ones."""
    sets: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for path in _recordings(corpus / "recordings"):
        digit, speaker, index = _parts(path)
        name = "test" if index in TEST else "dev" if index in DEV else "train"
        if name == "train" and 0 < subset <= index:
            continue
        utt_id = f"{speaker}-{digit}-{index:02d}"
        sets[name].append(Utterance(utt_id, speaker, str(path.resolve()), text=WORDS[digit]))
    for name, utterances in sets.items():
        if not utterances:
            raise DataError(str(corpus), f"has no recordings for {name}", "", "download the corpus again")
        DataDirectory(tuple(sorted(utterances, key=lambda u: u.utt_id))).write(output / name)
        print(f"{output / name}: {len(utterances)} utterances", file=sys.stderr)


def _recordings(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)
    problems = [
        Problem(str(path), "has another name", "{digit}_{speaker}_{index}", "rename or remove it")
        for path in paths
        if not NAME.fullmatch(path.stem)
    ]
    if problems:
        raise DataError.collect(problems)
    if not paths:
        raise DataError(
            str(folder), "has no recordings", ", ".join(SUFFIXES), "pass the folder of the corpus as --corpus"
        )
    return paths


def _parts(path: Path) -> tuple[int, str, int]:
    found = NAME.fullmatch(path.stem)
    assert found
    return int(found[1]), found[2], int(found[3])


if __name__ == "__main__":
    sys.exit(main())
