"""Download Google's Speech Commands, version 2, and unpack it.

    python3 local/fetch.py --output data/download      ->  data/download/speech_commands/<word>/*.wav

Interrupted downloads (2.4 GB) resume. The archive is verified by its published MD5 sum, and may be deleted
afterwards. An existing corpus is not downloaded again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from prepare import require_corpus

from recitative.data.importing import download, unpack
from recitative.errors import RecitativeError
from recitative.terminal import byte_bar

HOME = "https://storage.googleapis.com/download.tensorflow.org/data"
ARCHIVE = "speech_commands_v0.02.tar.gz"
MD5 = "6b74f3901214cb2c2934e98196829835"
FOLDER = "speech_commands"
OTHERWISE = "pass a copy with --corpus (a folder for each word, testing_list.txt, validation_list.txt)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", default=HOME, help="address of the archive or a mirror (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the archive and the corpus")
    arguments = parser.parse_args()
    try:
        fetch(arguments.home, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def fetch(home: str, output: Path) -> None:
    """Create output/speech_commands completely, or raise."""
    folder, archive, partial = output / FOLDER, output / ARCHIVE, output / f"{FOLDER}.partial"
    if folder.exists():
        print(f"{folder} exists", file=sys.stderr)
        return
    with byte_bar("fetching Speech Commands") as advance:
        download(f"{home}/{ARCHIVE}", archive, md5=MD5, otherwise=OTHERWISE, advance=advance)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with byte_bar("unpacking Speech Commands") as advance:
            unpack(archive, partial, advance)
        require_corpus(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{folder}: unpacked", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
