"""Errors a user can act on: one line that says where, what was found, what is allowed, what to do.

The command line prints ``str(error)`` and exits with ``error.exit_code``; a traceback is for our own bugs only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a user's input.

    ``str(problem)`` is ``where: found; allowed; remedy`` with the empty parts left out.
    """

    where: str  # file, file:line, or file:utterance
    found: str
    allowed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: " + "; ".join(part for part in (self.found, self.allowed, self.remedy) if part)


class RecitativeError(Exception):
    """Base of every error that is the input's fault and not the program's."""

    exit_code: ClassVar[int] = 1


class DataError(RecitativeError):
    """Bad data (exit 1); ``problems`` holds all of them, the message the first."""

    def __init__(self, where: str, found: str, allowed: str = "", remedy: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(where, found, allowed, remedy),)
        super().__init__(str(self.problems[0]))

    def __reduce__(self) -> tuple[Any, ...]:
        return DataError.collect, (self.problems,)  # a worker process sends it as it is

    @classmethod
    def collect(cls, problems: Sequence[Problem]) -> DataError:
        """One error for many problems: the first is the message, the count follows it."""
        first = problems[0]
        error = cls(first.where, first.found, first.allowed, first.remedy)
        error.problems = tuple(problems)
        if len(problems) > 1:
            error.args = (f"{first} (and {len(problems) - 1} more)",)
        return error


class RunError(RecitativeError):
    """A run that could not go on, such as one whose loss stays NaN (exit 1)."""


class UsageError(RecitativeError):
    """Bad arguments or settings (exit 2)."""

    exit_code: ClassVar[int] = 2
