"""Recordings that come to nothing: each is one line on stderr, the others are done, and the exit status is 1."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from recitative.errors import one_line


class Failures:
    """Of one call. total: the number of its recordings; what: became of the bad ones, such as "could not be heard"."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._count = 0

    def tell(self, error: str) -> None:
        print(f"error: {error}", file=sys.stderr)
        self._count += 1

    @contextmanager
    def of(self, file: str) -> Iterator[None]:
        """Whatever goes wrong within is told as this recording's. Write to standard output elsewhere: its errors are
        not the recording's."""
        try:
            yield
        except Exception as error:
            self.tell(one_line(file, error))

    def finish(self) -> None:
        """Raises typer.Exit if there were any."""
        if self._count and self._total > 1:
            print(f"{self._count} of {self._total} recordings {self._what}", file=sys.stderr)
        if self._count:
            raise typer.Exit(1)
