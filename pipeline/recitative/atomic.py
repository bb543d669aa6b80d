"""Files and folders that are written whole or not at all, and locks: one writer per folder.

They are written under a hidden name in the same folder, then renamed. A file that is being written is locked by its
process (``hold``), so that leftovers of killed processes can be distinguished from files that another process is
writing, and removed (``sweep``; in any folder, when a process first writes to it). The system releases the locks of a
process that dies.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import inspect
import json
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import ParamSpec, TypeVar

from recitative.errors import RunError

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


P = ParamSpec("P")
R = TypeVar("R")

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_mine: dict[Path, int] = {}  # folders that this process writes to, and the open lock file


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes to a folder, created if needed; leftovers of killed processes are removed.

    Raises RunError that names the process that is writing to it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder / LOCK, folder) as file:
            sweep(folder)
            place = folder.resolve()
            _mine[place] = file
            try:
                yield
            finally:
                del _mine[place]
    finally:
        for path in made:
            with suppress(OSError):  # it is not empty
                path.rmdir()


@contextmanager
def one_writer_of_model(model: Path) -> Iterator[None]:
    """The same for a model folder: locks its experiment, or, without one, the model."""
    folder = model.resolve()
    if (folder.parent / "checkpoint").is_dir():
        with one_writer(folder.parent):
            yield
    elif folder.is_dir():
        with _locked(folder.with_name(f".{folder.name}{LOCK}"), model):
            sweep(folder.parent)
            yield
    else:
        yield


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Wait until no other process changes this file. For short operations."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}{LOCK}"), path, wait=True):
        yield


def writes(
    argument: str, how: Callable[[Path], AbstractContextManager[None]] = one_writer
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: the function is the only writer of the folder in its argument of this name."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def alone(*args: P.args, **kwargs: P.kwargs) -> R:
            with how(signature.bind(*args, **kwargs).arguments[argument]):
                return function(*args, **kwargs)

        return alone

    return decorate


def require_writer(folder: Path) -> None:
    """Raises RunError if a folder locked by this process was removed since; another process may use it now."""
    file = _mine.get(folder.resolve())
    if file is not None and not _is_there(folder / LOCK, file):
        raise RunError(
            f"{folder}: was removed or replaced while this run wrote to it; start the run again if it is needed"
        )


@contextmanager
def _locked(path: Path, what: Path, *, wait: bool = False) -> Iterator[int]:
    try:
        file = hold(path, wait=wait)
    except BlockingIOError:
        raise RunError(
            f"{what}: {_holder(path)} is writing to it; wait until it ends, stop it, or choose another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(f"warning: {what}: its file system has no locks; let no other process write to it", file=sys.stderr)
        file = -1
    try:
        with suppress(OSError):  # a full disk: the lock still holds
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {platform.node()} ({_command()})".encode(errors="replace"))
        yield file
    finally:
        if file >= 0 and _is_there(path, file):
            path.unlink(missing_ok=True)
        let_go(file)


def _is_there(path: Path, file: int) -> bool:
    try:
        return file < 0 or os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False


def _holder(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    return "another process"


def _command() -> str:
    """The command up to its options: 'recitative train'."""
    name = Path(sys.argv[0]).name.replace("__main__.py", "recitative")
    return " ".join([name, *takewhile(lambda word: not word.startswith("-"), sys.argv[1:])]).replace("\n", " ")[:80]
