"""Progress on stderr: a bar where a person watches, nothing in a log file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from recitative.errors import printable
from recitative.terminal import progress_on_stderr

T = TypeVar("T")


class Show(Protocol):
    def __call__(self, done: float, total: int, title: str = "") -> None: ...


@contextmanager
def progress_bar(title: str) -> Iterator[Show]:
    """A bar that goes away when the work is done; ``show(done, total)`` moves it, a third argument renames it."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_on_stderr(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(printable(title), total=None)

        def show(done: float, total: int, title: str = title) -> None:
            bar.update(task, completed=done, total=total, description=printable(title))

        yield show


@contextmanager
def byte_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """The same for bytes; a total of 0 is not known."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with progress_on_stderr(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(printable(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """The items, with a bar that moves as they are taken."""
    with progress_bar(title) as show:
        for done, item in enumerate(items):
            show(done, total)
            yield item
