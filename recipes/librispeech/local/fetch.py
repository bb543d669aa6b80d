"""Download LibriSpeech from OpenSLR, verify the archives, and unpack them.

    python3 local/fetch.py --size mini --output data/download    ->  data/download/LibriSpeech/<part>/...

Interrupted downloads resume. Each archive is verified by the MD5 sum from OpenSLR, each part by its number of
utterances. Existing parts are not downloaded again. The archives may be deleted afterwards.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from prepare import read_part
from subsets import HOME, SIZES, Part

from recitative.data.importing import download, unpack
from recitative.errors import RecitativeError
from recitative.terminal import byte_bar

CORPUS = "LibriSpeech"
LM_TEXT = "librispeech-lm-norm.txt.gz"
OTHERWISE = "pass a copy (LibriSpeech, with a folder for each part) with --corpus"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", choices=SIZES, default="mini", help="training data: %(default)s is 5 hours (default), else hours"
    )
    parser.add_argument("--lm-text", action="store_true", help="also download the language model text, 1.4 GB")
    parser.add_argument("--home", default=HOME, help="address of the resources or a mirror (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for the archives and the corpus LibriSpeech/"
    )
    arguments = parser.parse_args()
    try:
        for part in (part for parts in SIZES[arguments.size].values() for part in parts):
            fetch(part, arguments.home, arguments.output)
        if arguments.lm_text:
            fetch_lm_text(arguments.home, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def fetch(part: Part, home: str, output: Path) -> None:
    """Create output/LibriSpeech/<part> completely, or raise."""
    folder, archive, partial = (
        output / CORPUS / part.name,
        output / f"{part.name}.tar.gz",
        output / f"{part.name}.partial",
    )
    if folder.exists():
        print(f"{folder} exists", file=sys.stderr)
        return
    with byte_bar(f"fetching {part.name}") as advance:
        download(f"{home}/{part.path}", archive, md5=part.md5, otherwise=OTHERWISE, advance=advance)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with byte_bar(f"unpacking {part.name}") as advance:
            unpack(archive, partial, advance)
        count = len(read_part(partial / CORPUS, part))
        folder.parent.mkdir(parents=True, exist_ok=True)
        (partial / CORPUS / part.name).rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{folder}: {count} utterances", file=sys.stderr)


def fetch_lm_text(home: str, output: Path) -> None:
    """Download the language model text: 14500 Project Gutenberg books without those of dev and test (resource 11)."""
    with byte_bar("fetching the text") as advance:
        download(f"{home}/11/{LM_TEXT}", output / LM_TEXT, advance=advance)


if __name__ == "__main__":
    sys.exit(main())
