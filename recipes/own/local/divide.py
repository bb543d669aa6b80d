"""Split a data directory into train, dev and test.

    python3 local/divide.py data/all data [--part 0.1] [--seed 1]

Splits by speaker where possible, so that dev and test have new voices. If the speakers are too few or too unequal, it
splits by utterance and prints a warning: the voices of test are then known from training.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from recitative.data import select
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RecitativeError, counted

MOST = 2.0  # a set of whole speakers may exceed the requested size by this factor
SETS = ("train", "dev", "test")
Parts = dict[str, DataDirectory]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the data directory of all recordings")
    parser.add_argument("output", type=Path, help="folder for train, dev and test")
    parser.add_argument(
        "--part", type=float, default=0.1, help="share of the utterances for dev, and for test (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    arguments = parser.parse_args()
    try:
        divide(arguments.source, arguments.output, arguments.part, arguments.seed)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def divide(source: Path, output: Path, part: float, seed: int) -> None:
    """Write output/{train,dev,test}. Raises DataError for fewer than three utterances."""
    directory = DataDirectory.read(source)
    if len(directory.utterances) < len(SETS):
        found = f"has {counted(len(directory.utterances), 'utterance')}"
        raise DataError(str(source), found, "at least three, one for each set", "add recordings")
    parts = by_speaker(directory, part, seed)
    if parts is None:
        parts = by_utterance(directory, part, seed)
        speakers = len(directory.by_speaker)
        why = f"{speakers} speakers do not divide into three sets" if speakers > 1 else "there is one speaker"
        print(f"warning: {why}; split by utterance: the error rate will be that of known voices", file=sys.stderr)
    for name, one in parts.items():
        one.write(output / name)
        print(
            f"{output / name}: {counted(len(one.utterances), 'utterance')}, {counted(len(one.by_speaker), 'speaker')}"
        )


def by_speaker(directory: DataDirectory, part: float, seed: int) -> Parts | None:
    """Assign speakers in random order to test, then dev, until each has its share; None if a set becomes too large."""
    speakers = list(directory.by_speaker)
    random.Random(seed).shuffle(speakers)
    wanted = part * len(directory.utterances)
    held: dict[str, list[str]] = {"test": [], "dev": []}
    for name in held:
        size = 0
        while size < wanted and speakers:
            held[name].append(speakers.pop())
            size += len(directory.by_speaker[held[name][-1]])
        if size > max(1.0, MOST * wanted):
            return None
    if not speakers or not held["dev"]:
        return None
    return {
        "train": select.only_speakers(directory, speakers),
        "dev": select.only_speakers(directory, held["dev"]),
        "test": select.only_speakers(directory, held["test"]),
    }


def by_utterance(directory: DataDirectory, part: float, seed: int) -> Parts:
    """Split utterances at random, with at least one in each set."""
    ids = [utterance.utt_id for utterance in directory.utterances]
    random.Random(seed).shuffle(ids)
    size = max(1, min(round(part * len(ids)), len(ids) // 3))
    return {
        "train": select.only_utterances(directory, ids[2 * size :]),
        "dev": select.only_utterances(directory, ids[:size]),
        "test": select.only_utterances(directory, ids[size : 2 * size]),
    }


if __name__ == "__main__":
    sys.exit(main())
