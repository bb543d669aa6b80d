"""Fetch CMU AN4 (64 MB) from its home, unpack it, and check that it is all there.

    python3 local/fetch.py --output data/download        ->  data/download/an4/{etc,wav}

An interrupted download goes on where it stopped. The home publishes no checksum, so the content is checked instead:
the archive's own CRC, the official lists of 948 and 130 utterances with a transcript and a recording each, and the
hours of audio. Whatever fails leaves no corpus behind, only the archive.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import shutil
import sys
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from prepare import read_corpus
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, track

from recitative.audio.files import inspect
from recitative.errors import DataError, RecitativeError, RunError

HOME = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
SECONDS = 2903.3  # train 2546.3, test 357.0
BLOCK = 1 << 16  # bytes
TALK = Console(stderr=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=HOME, help="where the archive is (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the archive and the corpus an4/")
    arguments = parser.parse_args()
    try:
        fetch(arguments.url, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def fetch(url: str, output: Path) -> None:
    """Leave output/an4 behind, complete, or raise."""
    corpus, archive, partial = output / "an4", output / url.rsplit("/", 1)[-1], output / "an4.partial"
    if corpus.exists():
        TALK.print(f"{corpus} is there already", highlight=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        download(url, archive)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        unpack(archive, partial)
        verify(partial / "an4")
        (partial / "an4").rename(corpus)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def download(url: str, target: Path) -> None:
    """Fetch url into target; bytes that an earlier try left in target.part are not fetched again."""
    part = target.with_name(target.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            _receive(response, part, done if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise RunError(_no_network(url, target, str(error))) from None
        part.unlink()  # what is there is as long as the archive or longer: it cannot be continued
        return download(url, target)
    except (OSError, http.client.HTTPException) as error:
        raise RunError(_no_network(url, target, str(getattr(error, "reason", error)))) from None
    part.rename(target)


def _receive(response: http.client.HTTPResponse, part: Path, done: int) -> None:
    length = int(response.headers["Content-Length"]) if response.headers["Content-Length"] else None
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=TALK) as progress, part.open("ab" if done else "wb") as file:
        task = progress.add_task("fetching AN4", total=length and done + length, completed=done)
        while block := response.read(BLOCK):
            file.write(block)
            progress.advance(task, len(block))
    if length is not None and part.stat().st_size != done + length:
        raise OSError(f"the connection ended after {part.stat().st_size} of {done + length} bytes")


def _no_network(url: str, target: Path, reason: str) -> str:
    return (
        f"{url}: could not be fetched ({reason}); run the stage again to go on where it stopped, or, with no network, "
        f"fetch it elsewhere and put it at {target.resolve()}, or give --corpus the folder of a copy (etc/ and wav/)"
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of the archive, and nothing but files, below folder."""
    try:
        with tarfile.open(archive) as tar:
            for member in track(tar, "unpacking", console=TALK, total=1100):
                path = PurePosixPath(member.name)
                if member.isfile() and not path.is_absolute() and ".." not in path.parts:
                    _write(tar, member, folder / path)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(str(archive), f"is damaged ({error})", "", "delete it and run the stage again") from None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # it is a file
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def verify(corpus: Path) -> None:
    """Raise DataError unless this is all of AN4: official lists, a readable recording each, the hours of audio."""
    utterances = [u for name in ("train", "test") for u in read_corpus(corpus)[name]]
    seconds = sum(inspect(u.recording_path).duration_s for u in track(utterances, "checking", console=TALK))
    if abs(seconds / SECONDS - 1) > 0.01:  # conversions may trim a few samples, not a per cent
        raise DataError(str(corpus), f"{seconds:.1f} s of audio", f"{SECONDS:.1f} s", "delete the archive, fetch again")
    TALK.print(f"{len(utterances)} utterances, {seconds / 3600:.2f} hours", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
