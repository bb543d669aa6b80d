"""Download and unpack archives of corpora; completed downloads are not repeated, damaged archives are errors."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from recitative.errors import DataError, RunError

Advance = Callable[[int, int], None]
"""``advance(done, total)`` in bytes; a total of 0 is unknown."""

BLOCK = 1 << 18  # bytes


def silent(done: int, total: int) -> None:
    """No progress."""


def download(url: str, target: Path, *, md5: str = "", otherwise: str = "", advance: Advance = silent) -> None:
    """Download url to target, unless it exists; continues from the bytes of an earlier attempt in target.part.

    md5: the published checksum, lower-case hexadecimal; '' = none. An existing target is checked too.
    otherwise: an alternative without a network, for the error message.
    Raises RunError if it could not be downloaded, DataError for a wrong checksum.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            _fetch(url, target, advance)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) if isinstance(error, urllib.error.HTTPError) else str(getattr(error, "reason", error))
            ways = f"fetch it elsewhere and put it at {target.resolve()}{', or ' if otherwise else ''}{otherwise}"
            found = f"{url}: could not be fetched ({reason}); run the stage again to go on where it stopped"
            raise RunError(f"{found}, or, with no network, {ways}") from None
    if md5 and (found := md5_of(target, advance)) != md5:
        raise DataError(str(target), f"has the MD5 sum {found}", f"{md5}, as published", "delete it and run again")


def md5_of(path: Path, advance: Advance = silent) -> str:
    """The MD5 sum of a file, in lower-case hexadecimal."""
    digest, done, size = hashlib.md5(usedforsecurity=False), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            advance(done := done + len(block), size)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path, advance: Advance = silent) -> None:
    """Unpack the files of a tar archive, compressed or not, and nothing but files, below folder.

    Raises DataError for a damaged archive.
    """
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isfile() and not path.is_absolute() and ".." not in path.parts:
                    _write(tar, member, folder / path)
                advance(file.tell(), archive.stat().st_size)
            # A damaged header ends the loop silently; the checksum at the end of a compressed archive detects it.
            while tar.fileobj and tar.fileobj.read(BLOCK):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(str(archive), f"is damaged ({error})", "", "delete it and run the stage again") from None


def _fetch(url: str, target: Path, advance: Advance) -> None:
    part = target.with_name(target.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            _receive(response, part, done if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0, advance)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not done:
            raise
        part.unlink()  # at least as long as the archive: it cannot be continued
        return _fetch(url, target, advance)
    part.rename(target)


def _receive(response: http.client.HTTPResponse, part: Path, done: int, advance: Advance) -> None:
    """Append to the ``done`` bytes of part. Raises OSError if the connection ends too early."""
    length = response.headers["Content-Length"]
    total = done + int(length) if length else 0
    with part.open("ab" if done else "wb") as file:
        while block := response.read(BLOCK):
            file.write(block)
            advance(done := done + len(block), total)
    if total and part.stat().st_size != total:
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # it is a file
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
