"""Divide what a fold trains on into train and dev: a few clips of each kind choose the epoch.

    python3 local/hold_out.py data/folds/1/train --dev data/folds/1/dev --rest data/folds/1/rest --clips 3

Of each kind whole sources (the data's speakers) go to dev until it has as many clips as asked for, in an order that
depends on the sources' names alone. The fold's test set is not looked at.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path

from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RecitativeError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data directory")
    parser.add_argument("--dev", type=Path, required=True, help="folder for what chooses the epoch")
    parser.add_argument("--rest", type=Path, required=True, help="folder for what is trained on")
    parser.add_argument("--clips", type=int, default=3, help="of each kind, at least (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        data = DataDirectory.read(arguments.data)
        held = held_sources(data, arguments.clips)
        if not held < set(data.by_speaker):
            raise DataError(str(arguments.data), "leaves nothing to train on", "", "ask for fewer --clips")
        data.where(lambda utterance: utterance.speaker in held).write(arguments.dev)
        data.where(lambda utterance: utterance.speaker not in held).write(arguments.rest)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def held_sources(data: DataDirectory, clips: int) -> set[str]:
    """Sources with at least so many clips of each kind."""
    held: set[str] = set()
    for kind in sorted({utterance.text or "" for utterance in data.utterances}):
        of_kind = [utterance.speaker for utterance in data.utterances if utterance.text == kind]
        for source in sorted(set(of_kind), key=lambda name: (zlib.crc32(name.encode()), name)):
            if sum(speaker in held for speaker in of_kind) >= clips:
                break
            held.add(source)
    return held


if __name__ == "__main__":
    sys.exit(main())
