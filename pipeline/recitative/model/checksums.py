"""The checksums of a model folder: ``SHA256SUMS``, which ``sha256sum -c`` reads too, with a line for every other file.

All files are covered: a changed digit in the settings or the language model changes results as silently as one in the
weights. Whatever writes the folder writes it anew. Folders of older versions have none, and nobody needs to have it:
who changes a file by hand removes it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from recitative.errors import DataError

CHECKSUMS = "SHA256SUMS"


def write_checksums(folder: Path) -> None:
    """Of all files that lie in the folder."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)
    lines = [f"{_digest_of(folder / name)}  {name}\n" for name in names]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def verify_checksums(folder: Path) -> None:
    """Raises DataError that names the first file that is missing or is not what it was, if there are checksums.

    A file that has none may have been added by hand.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError):
        raise _damaged(path, folder, "cannot be read") from None
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.partition("  ")
        if not name or Path(name).name != name:
            raise _damaged(f"{path}:{number}", folder, "is no checksum of a file")
        file = folder / name
        if not file.is_file():
            raise _damaged(file, folder, f"is missing, and {CHECKSUMS} lists it")
        if _digest_of(file) != digest:
            raise _damaged(file, folder, f"is damaged, or was changed by hand: its checksum is not that in {CHECKSUMS}")


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(where: Path | str, folder: Path, found: str) -> DataError:
    remedy = f"copy the folder again; to keep a change of your own, remove {folder / CHECKSUMS}"
    return DataError(str(where), found, "", remedy)
