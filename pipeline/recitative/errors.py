"""Errors for users: one line that says where, what was found, what is allowed, and what to do.

The command line prints ``str(error)`` and exits with ``error.exit_code``; only bugs give a traceback.
"""

from __future__ import annotations

import errno
import faulthandler
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of a user's input.

    ``str(problem)`` is ``where: found; allowed; remedy`` without empty parts.
    """

    where: str  # file, file:line, or file:utterance
    found: str
    allowed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = (printable(part) for part in (self.found, self.allowed, self.remedy) if part)
        return f"{printable(self.where)}: " + "; ".join(parts)


def printable(text: str, longest: int = 600) -> str:
    """Text for a message: without line breaks and control characters, shortened in the middle."""
    if len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-longest // 2 :]}"
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def counted(count: int | str, noun: str, plural: str = "") -> str:
    """``1 word``, ``2 words``. count: also as it is printed; plural: if it is not the noun and an s."""
    return f"{count} {noun if str(count) == '1' else plural or f'{noun}s'}"


def _escaped(character: str) -> str:
    if character == "\N{NO-BREAK SPACE}" or "\udc80" <= character <= "\udcff":
        return character  # a blank, or a byte of a name that is not UTF-8, which is printed unchanged
    return ascii(character)[1:-1]


class RecitativeError(Exception):
    """Base of errors caused by input, not by bugs."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, 2400))


class DataError(RecitativeError):
    """Bad data (exit 1); ``problems`` has all faults, the message the first."""

    def __init__(self, where: str, found: str, allowed: str = "", remedy: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(where, found, allowed, remedy),)
        super().__init__(str(self.problems[0]))

    def __reduce__(self) -> tuple[Any, ...]:
        return DataError.collect, (self.problems,)  # for worker processes

    @classmethod
    def collect(cls, problems: Sequence[Problem]) -> DataError:
        """One error for many problems; the message is the first and the number of others."""
        first = problems[0]
        error = cls(first.where, first.found, first.allowed, first.remedy)
        error.problems = tuple(problems)
        if len(problems) > 1:
            error.args = (f"{first} (and {len(problems) - 1} more)",)
        return error


def raise_all(problems: Sequence[Problem]) -> None:
    """Raises one DataError for all problems, if there are any."""
    if problems:
        raise DataError.collect(problems)


class RunError(RecitativeError):
    """A run that cannot continue, such as one whose loss stays NaN (exit 1)."""


class UsageError(RecitativeError):
    """Bad arguments or settings (exit 2)."""

    exit_code: ClassVar[int] = 2


def os_problem(error: OSError, where: str = "") -> Problem:
    """An error of the operating system for the user. where: the file, if the error doesn't name one."""
    name = error.filename if error.filename is not None else error.filename2
    found, *rest = _OS_PROBLEMS.get(error.errno or 0, (f"failed ({error.strerror or error})",))
    return Problem(_text(name) if name is not None else where or "a file", found, *rest)


def _text(name: object) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)


_FOLDER = ("is a file", "a folder", "give another path, or move the file away")
_OS_PROBLEMS: dict[int, tuple[str, ...]] = {
    errno.ENOENT: ("does not exist", "", "correct the path"),
    errno.EEXIST: _FOLDER,  # of mkdir(exist_ok=True), the one call that meets it
    errno.ENOTDIR: ("is in a file, not a folder", "", "give another path"),
    errno.EISDIR: ("is a folder", "a file", "give the path of a file"),
    errno.EACCES: ("permission denied", "", "change its permissions, or give another path"),
    errno.EPERM: ("permission denied", "", "change its permissions, or give another path"),
    errno.EROFS: ("cannot be written: the file system is read-only", "", "give another path"),
    errno.ENOSPC: ("the disk is full", "", "make room and run it again"),
    errno.EDQUOT: ("the disk quota is used up", "", "make room and run it again"),
    errno.EFBIG: ("would exceed the maximal file size", "", "raise the limit (ulimit -f), or give another path"),
    errno.ENAMETOOLONG: ("the name is too long", "", "shorten it"),
    errno.EMFILE: ("too many open files", "", "raise the limit (ulimit -n), or use fewer --jobs"),
    errno.EPIPE: ("closed by its reader",),
}


def one_line(where: str, error: Exception) -> str:
    """Any error as one line, for work that continues with the next recording."""
    if isinstance(error, RecitativeError):
        return str(error)
    if isinstance(error, OSError):
        return str(os_problem(error, where))
    if isinstance(error, MemoryError):
        return str(Problem(where, "not enough memory", "", "split it, or use fewer --jobs"))
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(one.filename).name}:{one.lineno}" for one in frame)
    reason = " ".join(str(error).split())[:200]
    return f"{where}: failed ({type(error).__name__}: {reason}{place}); a bug; please report it"


def handle_on_own_stack() -> None:
    """Handle signals of this thread on a separate stack; a crash of native code also prints the Python traceback.

    Matrix kernels of oneDNN, at least in PyTorch 2.11, use the stack pointer to walk through heap memory. The frame of
    a signal that arrives meanwhile, such as Ctrl-C or the end of a worker process, is written there (12 KB with AMX):
    "corrupted size vs. prev_size" some steps later (oneDNN's issue 4845). Python's handlers request the alternate stack
    (SA_ONSTACK), and faulthandler provides one that is large enough.
    """
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
