"""Make the data directories train, dev, test_clean and test_other from LibriSpeech.

    python3 local/prepare.py --corpus DIR/LibriSpeech --size mini --output data [--subset N]

The corpus has <part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt with lines 'id WORDS', and a recording
<id>.flac for each. Ids are kept; text becomes lower case.

    python3 local/prepare.py --lm-text librispeech-lm-norm.txt.gz --lines N --output data

writes N lines of the language model text, evenly spread over it, to the text table data/lm_text.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from subsets import SIZES, Part

from recitative.atomic import write_text
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, Problem, RecitativeError
from recitative.reading import read_text
from recitative.terminal import track

CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
LM_LINES = 40_418_261  # of librispeech-lm-norm.txt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--corpus", type=Path, help="the folder LibriSpeech, with a folder for each part")
    what.add_argument("--lm-text", type=Path, help="librispeech-lm-norm.txt.gz")
    parser.add_argument(
        "--size", choices=SIZES, default="mini", help="training data: %(default)s is 5 hours (default), else hours"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--subset", type=int, default=0, help="only the first N utterances of each speaker (0: all)")
    parser.add_argument(
        "--lines", type=int, default=1_000_000, help="lines of the text to write (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        if arguments.lm_text:
            write_lm_text(arguments.lm_text, arguments.lines, arguments.output / "lm_text")
        else:
            prepare(arguments.corpus, arguments.size, arguments.output, arguments.subset)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(corpus: Path, size: str, output: Path, subset: int) -> None:
    """Write output/{train,dev,test_clean,test_other}, at most ``subset`` utterances of each speaker (0: all)."""
    for name, parts in SIZES[size].items():
        directory = DataDirectory(tuple(sorted(u for part in parts for u in read_part(corpus, part))))
        if subset > 0:
            directory = directory.with_utterances([u for us in directory.by_speaker.values() for u in us[:subset]])
        directory.write(output / name)
        words = sum(len(text.split()) for text in directory.texts.values())
        counts = f"{len(directory.utterances)} utterances, {words} words, {len(directory.by_speaker)} speakers"
        print(f"{output / name}: {counts}", file=sys.stderr)


def read_part(corpus: Path, part: Part) -> list[Utterance]:
    """Read one part of the corpus. Raises one DataError with all missing recordings and invalid transcripts."""
    folder = corpus.resolve() / part.name
    if not folder.is_dir():
        raise DataError(str(folder), "does not exist", f"LibriSpeech's {part.name}", "download it, or correct --corpus")
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    files = sorted(folder.glob("*/*/*.trans.txt"))
    for path in track(files, f"read {part.name}", len(files)):
        for found in _read_chapter(path):
            if isinstance(found, Problem):
                problems.append(found)
            else:
                utterances.append(found)
    if problems:
        raise DataError.collect(problems)
    if len(utterances) != part.utterances:
        found = f"{len(utterances)} utterances"
        raise DataError(str(folder), found, f"{part.utterances}, as published", "download it again")
    return utterances


def write_lm_text(source: Path, lines: int, target: Path) -> None:
    """Write every n-th line in lower case, about ``lines`` in total."""
    step = max(1, LM_LINES // lines)
    try:
        with gzip.open(source, "rt", encoding="ascii") as file:
            taken = [line.strip().lower() for number, line in enumerate(file) if number % step == 0]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(str(source), f"cannot be read ({error})", "the gzipped text", "download it again") from None
    taken = [line for line in taken if line]
    write_text(target, "".join(f"lm-{number:08d} {line}\n" for number, line in enumerate(taken)))
    print(f"{target}: {len(taken)} lines", file=sys.stderr)


def _read_chapter(path: Path) -> Iterator[Utterance | Problem]:
    recordings = {file.stem for file in path.parent.glob("*.flac")}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        utt_id, _, text = line.partition(" ")
        where = f"{path}:{number}"
        if not utt_id.startswith(f"{path.parent.parent.name}-") or not text.strip() or set(text) - CHARACTERS:
            yield Problem(where, f"'{line[:60]}'", "'speaker-chapter-number WORDS'", "download the part again")
        elif utt_id not in recordings:
            yield Problem(where, f"no recording {utt_id}.flac", "one beside the transcript", "download the part again")
        else:
            audio = str(path.with_name(f"{utt_id}.flac"))
            yield Utterance(utt_id, path.parent.parent.name, audio, text=" ".join(text.lower().split()))


if __name__ == "__main__":
    sys.exit(main())
