"""Make the data directories train, dev and test from the digits corpus.

    python3 local/prepare.py --corpus corpus --output data [--subset N]

Test is the corpus's own set: six voices that are not in train. Dev has three voices held out of train, so that models
are selected by their accuracy on new voices too.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, RecitativeError
from recitative.reading import read_text

DEV_SPEAKERS = ("af_river", "am_eric", "bf_emma")
COLUMNS = ("utt_id", "speaker", "set", "text", "speed", "seconds")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with manifest.tsv and audio/")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--subset", type=int, default=0, help="only the first N recordings of each voice (0: all)")
    arguments = parser.parse_args()
    try:
        prepare(arguments.corpus, arguments.output, arguments.subset)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(corpus: Path, output: Path, subset: int) -> None:
    """Write output/{train,dev,test}. Raises DataError for an invalid manifest."""
    sets: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    taken: dict[str, int] = {}
    for name, utterance in _read_manifest(corpus):
        taken[utterance.speaker] = taken.get(utterance.speaker, 0) + 1
        if subset <= 0 or taken[utterance.speaker] <= subset:
            sets["dev" if utterance.speaker in DEV_SPEAKERS else name].append(utterance)
    for name, utterances in sets.items():
        DataDirectory(tuple(utterances)).write(output / name)
        voices = len({u.speaker for u in utterances})
        print(f"{output / name}: {len(utterances)} utterances, {voices} voices", file=sys.stderr)


def _read_manifest(corpus: Path) -> list[tuple[str, Utterance]]:
    path = corpus / "manifest.tsv"
    lines = read_text(path, "", "pass the folder of the corpus as --corpus").splitlines()
    rows = csv.DictReader(lines, delimiter="\t")
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise DataError(f"{path}:1", "other columns", " ".join(COLUMNS), "pass the digits corpus as --corpus")
    entries = []
    for row in rows:
        if row["set"] not in ("train", "test"):
            raise DataError(f"{path}:{rows.line_num}", f"set '{row['set']}'", "train or test", "correct the line")
        audio = corpus.resolve() / "audio" / f"{row['utt_id']}.ogg"
        entries.append((row["set"], Utterance(row["utt_id"], row["speaker"], str(audio), text=row["text"])))
    return entries


if __name__ == "__main__":
    sys.exit(main())
