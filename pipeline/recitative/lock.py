"""Locks: one writer per folder at a time. The system releases the lock of a process that dies."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import ParamSpec, TypeVar

from recitative.atomic import hold, let_go, sweep
from recitative.errors import RunError

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
