"""Download CMU AN4 (64 MB), unpack it, and check that it is complete.

    python3 local/fetch.py --output data/download        ->  data/download/an4/{etc,wav}

Interrupted downloads resume. No checksum is published, so the content is checked: the archive's CRC, the official
lists of 948 and 130 utterances, a transcript and a recording for each, and the total duration. If a check fails, only
the archive remains.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from prepare import read_corpus
from rich.console import Console
from rich.progress import track

from recitative.audio.files import inspect
from recitative.data.importing import download, unpack
from recitative.errors import DataError, RecitativeError
from recitative.terminal import byte_bar

HOME = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
SECONDS = 2903.3  # train 2546.3, test 357.0
OTHERWISE = "pass a copy of the corpus (etc/ and wav/) with --corpus"
TALK = Console(stderr=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=HOME, help="address of the archive (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the archive and the corpus an4/")
    arguments = parser.parse_args()
    try:
        fetch(arguments.url, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def fetch(url: str, output: Path) -> None:
    """Create output/an4 completely, or raise."""
    corpus, archive, partial = output / "an4", output / url.rsplit("/", 1)[-1], output / "an4.partial"
    if corpus.exists():
        TALK.print(f"{corpus} exists", highlight=False)
        return
    with byte_bar("fetching AN4") as advance:
        download(url, archive, otherwise=OTHERWISE, advance=advance)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with byte_bar("unpacking") as advance:
            unpack(archive, partial, advance)
        verify(partial / "an4")
        (partial / "an4").rename(corpus)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def verify(corpus: Path) -> None:
    """Raise DataError unless AN4 is complete: official lists, readable recordings, total duration."""
    utterances = [u for name in ("train", "test") for u in read_corpus(corpus)[name]]
    seconds = sum(inspect(u.recording_path).duration_s for u in track(utterances, "checking", console=TALK))
    if abs(seconds / SECONDS - 1) > 0.01:  # conversions may trim a few samples, but not one percent
        raise DataError(
            str(corpus), f"{seconds:.1f} s of audio", f"{SECONDS:.1f} s", "delete the archive and download it again"
        )
    TALK.print(f"{len(utterances)} utterances, {seconds / 3600:.2f} hours", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
