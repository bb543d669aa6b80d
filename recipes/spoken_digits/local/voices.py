"""Divide the recordings so that each speaker in turn is heard for the first time in the test.

    python3 local/voices.py --data data --output data/voices

Reads data/{train,dev,test} of the official split and writes OUTPUT/SPEAKER/{train,dev,test}: test is everything of one
speaker; of the others, dev is what it is in the official split, and train the rest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recitative.classification.folds import leave_one_speaker_out
from recitative.data.directory import DataDirectory
from recitative.data.select import combine
from recitative.errors import RecitativeError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the official split")
    parser.add_argument("--output", type=Path, required=True, help="folder for the folds")
    arguments = parser.parse_args()
    try:
        divide(arguments.data, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def divide(data: Path, output: Path) -> None:
    """Write a folder for each speaker. Raises DataError for a single one."""
    sets = {name: DataDirectory.read(data / name) for name in ("train", "dev", "test")}
    everything, _ = combine(sets)
    chosen_by = set(sets["dev"].utt2spk)
    for fold in leave_one_speaker_out(everything):
        fold.train.where(lambda utterance: utterance.utt_id not in chosen_by).write(output / fold.name / "train")
        fold.train.where(lambda utterance: utterance.utt_id in chosen_by).write(output / fold.name / "dev")
        fold.test.write(output / fold.name / "test")
        print(f"{output / fold.name}: {len(fold.test.utterances)} to test", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
