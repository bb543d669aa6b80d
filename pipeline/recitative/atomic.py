"""Atomic files and folders: written under a hidden name in the same folder, then renamed.

A file that is being written is locked by its process (``hold``), so that leftovers of killed processes can be
distinguished from files that another process is writing, and removed (``sweep``; in any folder, when a process first
writes to it).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LEFT = re.compile(r"\.(.+\.partial|tmp\w{6})")  # the second is left by safetensors
_OURS = re.compile(r"\..+\.[0-9a-f]{8}\.partial")  # also in folders that have files of other programs
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_held: set[int] = set()
_swept: set[Path] = set()  # folders to which this process has written


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to; it replaces ``path`` when the block ends without an error.

    Missing folders are created. After an error the old file stays and the temporary file is removed; an OSError names
    ``path``.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(target.parent)
    partial = _partial(target)
    with _alive(partial):
        try:
            yield partial
            os.replace(partial, target)
        except OSError as error:
            if error.filename in (None, str(partial), partial):
                error.filename, error.filename2 = str(target), None
            raise
        finally:
            with suppress(OSError):  # a folder that vanished, or a name that is too long
                partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """The same for a folder: at any time its path has either the complete old content or the complete new one.

    An OSError names the path within ``folder``. Raises NotADirectoryError if it is a file.
    """
    target = folder.resolve()
    recover_folder(target)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    partial = _partial(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(target.parent)
    partial.mkdir()
    with _alive(partial, create=False):
        try:
            partial.mkdir(exist_ok=True)  # swept before it was held
            yield partial
            _exchange(partial, target)
        except OSError as error:
            path = Path(os.fsdecode(error.filename or partial))
            if path.is_relative_to(partial):
                error.filename, error.filename2 = str(folder / path.relative_to(partial)), None
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Restore a folder whose writer died between two renames, on a system that cannot exchange folders."""
    with suppress(OSError):
        if not folder.exists() and _aside(folder).is_dir():
            _aside(folder).rename(folder)


def write_text(path: str | Path, content: str) -> None:
    """Write text as UTF-8, with its line ends and the original bytes of file names; atomic."""
    write_bytes(path, content.encode("utf-8", "surrogateescape"))


def update_text(path: str | Path, content: str) -> None:
    """Write text as UTF-8 unless the file has this content already; atomic."""
    with suppress(OSError):
        if Path(path).read_bytes() == content.encode("utf-8", "surrogateescape"):
            return
    write_text(path, content)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes; atomic."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Readable JSON; bytes of file names that are not UTF-8 become escapes, from which Python restores them."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def sweep(*folders: Path) -> None:
    """Remove leftovers of killed processes in these folders, but not what a running one is writing."""
    for folder in folders:
        _sweep(folder, _LEFT)


def _sweep(folder: Path, pattern: re.Pattern[str]) -> None:
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if pattern.fullmatch(path.name):
            with suppress(OSError):  # held by another process, or finished
                file = hold(path, create=False)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
                let_go(file)


def _sweep_once(folder: Path) -> None:
    place = folder.absolute()
    if place not in _swept:
        _swept.add(place)
        with suppress(OSError):  # a folder that cannot be listed
            _sweep(place, _OURS)


def hold(path: Path, *, create: bool = True, wait: bool = False) -> int:
    """Open and lock a file, created if needed, or a folder, until ``let_go`` or the end of this process.

    Raises BlockingIOError if another process holds it, unless ``wait``, and OSError if the file system has no locks.
    """
    while True:
        flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | (os.O_CREAT if create else 0)
        file = os.open(path, flags | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            there = os.fstat(file).st_nlink > 0
        except OSError as error:
            there = False
            if error.errno != errno.ESTALE:
                os.close(file)
                raise
        if there:
            _held.add(file)
            return file
        os.close(file)  # removed while this process opened it


def let_go(file: int) -> None:
    """Release and close a file opened by ``hold``."""
    if file in _held:
        _held.remove(file)
        os.close(file)


def _let_go_of_all() -> None:
    for file in tuple(_held):
        let_go(file)


# A forked process, such as one that prepares batches, must not keep the locks when its parent is killed.
os.register_at_fork(after_in_child=_let_go_of_all)


@contextmanager
def _alive(partial: Path, *, create: bool = True) -> Iterator[None]:
    """Lock what is being written, so that no other process sweeps it. Without locks, nothing is swept."""
    file = -1
    with suppress(OSError):
        file = hold(partial, create=create, wait=True)
    try:
        yield
    finally:
        let_go(file)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.before")


def _exchange(new: Path, old: Path) -> None:
    """``new`` replaces ``old``, which is then at ``new``, or removed."""
    if _rename_exchange(new, old):
        return
    for attempt in range(10):
        with suppress(FileNotFoundError):
            shutil.rmtree(_aside(old), ignore_errors=True)
            old.rename(_aside(old))
        try:
            new.rename(old)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == 9:  # not a reader who recovered it
                recover_folder(old)
                raise
    shutil.rmtree(_aside(old), ignore_errors=True)


def _rename_exchange(new: Path, old: Path) -> bool:
    """Exchange atomically; False if the system cannot, or there is no ``old``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    done = libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE)
    return bool(done == 0)
