"""Make data directories from ESC-10 in which one kind of sound is normal, or one kind is unusual.

    python3 local/prepare.py --corpus DIR --output data

DIR has a folder for each kind, such as "002 - Rain", with FOLD-CLIP-TAKE.ogg. Writes 16 kHz copies to OUTPUT/wav, all
of them as OUTPUT/all, and for each kind OUTPUT/usual/KIND/{train,dev,test,unusual}, in which only this kind is
normal, and OUTPUT/held_out/KIND/..., in which only this kind is unusual. Folds 1 to 3 are train, 4 is dev, 5 is test;
all takes of a clip are in one fold. Train and dev have normal sounds only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from recitative.audio.files import read_audio, resample, write_wav
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
    """Write all data directories. Raises DataError for a folder without kinds, and for unreadable clips."""
    clips = [_convert(path, output / "wav") for path in sorted(corpus.glob("[0-9]* - */[0-9]-*-*.*"))]
    kinds = sorted({clip.text or "" for clip in clips})
    if len(kinds) < 2:
        found = f"holds {len(kinds)} kinds of sound"
        raise DataError(str(corpus), found, "folders such as '002 - Rain'", "pass the folder of ESC-10 as --corpus")
    DataDirectory(tuple(clips)).write(output / "all")
    for kind in kinds:
        _divide(clips, lambda clip, kind=kind: clip.text == kind, output / "usual" / kind)
        _divide(clips, lambda clip, kind=kind: clip.text != kind, output / "held_out" / kind)
    print(f"{output}: {len(clips)} clips of {len(kinds)} kinds: {', '.join(kinds)}", file=sys.stderr)


def _convert(path: Path, wav: Path) -> Utterance:
    """Resample a clip. Its label is the kind of sound; its speaker is the recording that it was cut from."""
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
