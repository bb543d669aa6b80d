"""ESC-10 as data directories in which one kind of sound is usual, or one kind is not.

    python3 local/prepare.py --corpus DIR --output data

DIR holds a folder for each kind, "002 - Rain", with FOLD-CLIP-TAKE.ogg, as the corpus comes. Writes 16 kHz copies to
OUTPUT/wav, all of them as OUTPUT/all, and, for each kind, OUTPUT/usual/KIND/{train,dev,test,unusual}, where it is the
only usual sound, and OUTPUT/held_out/KIND/..., where it is the only unusual one. Folds 1 to 3 are for training, 4 for
dev, 5 for the test: a clip's takes are in one fold. Nothing unusual is in train and dev.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from recitative.audio.files import read_audio, write_wav
from recitative.audio.resample import resample
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, RecitativeError

SAMPLE_RATE = 16000
SETS = {"train": "123", "dev": "4", "test": "5"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of ESC-10")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    arguments = parser.parse_args()
    try:
        prepare(arguments.corpus, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(corpus: Path, output: Path) -> None:
    """Raises DataError for a folder without kinds, and for clips that cannot be read."""
    clips = [_convert(path, output / "wav") for path in sorted(corpus.glob("[0-9]* - */[0-9]-*-*.*"))]
    kinds = sorted({clip.text or "" for clip in clips})
    if len(kinds) < 2:
        found = f"holds {len(kinds)} kinds of sound"
        raise DataError(str(corpus), found, "folders such as '002 - Rain'", "give the folder of ESC-10")
    DataDirectory(tuple(clips)).write(output / "all")
    for kind in kinds:
        _divide(clips, lambda clip, kind=kind: clip.text == kind, output / "usual" / kind)
        _divide(clips, lambda clip, kind=kind: clip.text != kind, output / "held_out" / kind)
    print(f"{output}: {len(clips)} clips of {len(kinds)} kinds: {', '.join(kinds)}", file=sys.stderr)


def _convert(path: Path, wav: Path) -> Utterance:
    """A clip at another rate; its label is the kind of sound, its 'speaker' the recording that it was cut from."""
    fold, clip, _ = path.stem.split("-")
    kind = path.parent.name.split(" - ")[1].lower().replace(" ", "_")
    copy = wav / f"{path.stem}.wav"
    if not copy.exists():
        samples, rate = read_audio(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_wav(copy, resample(samples, rate, SAMPLE_RATE).clip(-1.0, 1.0), SAMPLE_RATE)
    return Utterance(path.stem, f"{fold}-{clip}", str(copy.resolve()), text=kind)


def _divide(clips: Sequence[Utterance], is_usual: Callable[[Utterance], bool], folder: Path) -> None:
    for name, folds in SETS.items():
        DataDirectory(tuple(clip for clip in clips if is_usual(clip) and clip.utt_id[0] in folds)).write(folder / name)
    unusual = (clip for clip in clips if not is_usual(clip) and clip.utt_id[0] in SETS["test"])
    DataDirectory(tuple(unusual)).write(folder / "unusual")


if __name__ == "__main__":
    sys.exit(main())
