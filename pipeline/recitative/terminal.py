"""The terminal: progress bars on stderr while results go to stdout, also if both are the same terminal."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Protocol, TextIO, TypeVar, cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.file_proxy import FileProxy
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment

from recitative.errors import printable

T = TypeVar("T")


class Show(Protocol):
    """Moves a progress bar; ``title`` renames it."""

    def __call__(self, done: float, total: int, title: str = "") -> None: ...


@contextmanager
def progress_bar(title: str) -> Iterator[Show]:
    """A progress bar that disappears at the end of the block. In a log file, nothing is shown."""
    with _bar(title, MofNCompleteColumn()) as (bar, task):

        def show(done: float, total: int, title: str = title) -> None:
            bar.update(task, completed=done, total=total, description=printable(title))

        yield show


@contextmanager
def byte_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of bytes. A total of 0 is unknown."""
    with _bar(title, DownloadColumn()) as (bar, task):
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def _bar(title: str, count: ProgressColumn) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with progress_on_stderr(*columns, console=Console(stderr=True)) as bar:
        yield bar, bar.add_task(printable(title), total=None)


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield the items, and show a progress bar."""
    with progress_bar(title) as show:
        for done, item in enumerate(items):
            show(done, total)
            yield item


@contextmanager
def progress_on_stderr(
    *columns: ProgressColumn, console: Console, speed_estimate_period: float = 30.0
) -> Iterator[Progress]:
    """A progress bar during the block, shown if ``console``, which writes to stderr, is a terminal.

    Standard output is not changed; if it is the same terminal, its lines are written above the bar. A nested bar
    replaces the outer one meanwhile.
    """
    shown = console.is_terminal and not console.quiet
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not shown,
        redirect_stdout=False,  # rich would send it to stderr
        redirect_stderr=False,  # and wrap long lines
        speed_estimate_period=speed_estimate_period,
    )
    with ExitStack() as stack:
        if shown:
            for name in ("stdout", "stderr"):
                if _same_terminal(getattr(sys, name), console.file):
                    stack.enter_context(_above_bar(name, console))
            stack.enter_context(_in_place_of_the_last(bar))
        yield stack.enter_context(bar)


_shown: list[Progress] = []


@contextmanager
def _in_place_of_the_last(bar: Progress) -> Iterator[None]:
    outer = _shown[-1] if _shown else None
    if outer:
        outer.stop()
    _shown.append(bar)
    try:
        yield
    finally:
        _shown.remove(bar)
        if outer:
            outer.start()


def _same_terminal(one: TextIO, other: IO[str]) -> bool:
    try:
        return one.isatty() and os.fstat(one.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev
    except (OSError, ValueError):  # closed, or not a file
        return False


@contextmanager
def _above_bar(name: str, console: Console) -> Iterator[None]:
    """Lines of ``sys.stdout`` or ``sys.stderr`` are written through the console, which moves the bar down."""
    file: TextIO = getattr(sys, name)
    file.flush()
    proxy = _LinesAboveBar(console, getattr(file, "rich_proxied_file", file))
    setattr(sys, name, cast(TextIO, proxy))
    try:
        yield
    finally:
        setattr(sys, name, file)
        proxy.finish()


class _LinesAboveBar(FileProxy):
    """Unlike rich's proxy, it neither wraps lines nor expands tabs."""

    def __init__(self, console: Console, file: TextIO) -> None:
        super().__init__(console, file)
        self._console = console
        self._unfinished = ""

    def write(self, text: str) -> int:
        lines, newline, self._unfinished = (self._unfinished + text).rpartition("\n")
        if newline:
            self._console.print(_Verbatim(lines + newline), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Does nothing: lines are written when complete, since the bar needs its own."""

    def finish(self) -> None:
        """Write the rest after the bar is removed."""
        if self._unfinished:
            self.rich_proxied_file.write(self._unfinished)
            self.rich_proxied_file.flush()


class _Verbatim:
    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._text)


def write_any_name() -> None:
    """Let standard output accept any text: bytes of file names that are not UTF-8 are written unchanged, and characters
    that its encoding lacks as \\uXXXX, as in JSON."""
    codecs.register_error("recitative", _bytes_or_escapes)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="recitative")


def _bytes_or_escapes(error: UnicodeError) -> tuple[bytes | str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    if 0xDC80 <= code <= 0xDCFF:  # such a byte in Python (PEP 383)
        return bytes([code - 0xDC00]), error.start + 1
    units = error.object[error.start].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2)), error.start + 1
