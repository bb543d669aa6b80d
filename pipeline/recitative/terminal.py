"""Progress on stderr while results go to stdout: bars on a terminal, also if it is both, and lines in a log."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Event, Thread
from typing import IO, Protocol, TextIO, TypeVar, cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.file_proxy import FileProxy
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.segment import Segment
from rich.text import Text

from recitative.errors import printable

T = TypeVar("T")

LINE_EVERY_S = 10.0  # between lines about long work where there is no terminal

Amount = Callable[[float], str]
"""How a bar writes the amount that is done, and the total."""


def clock(seconds: float) -> str:
    """``3:05``, or ``1:02:03`` from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def count(number: float) -> str:
    return str(int(number))


def size(number: float) -> str:
    """Bytes as ``1.5 MB``."""
    return decimal(int(number))


class Show(Protocol):
    """Moves a progress bar; ``title`` renames it. A total of 0 is unknown."""

    def __call__(self, done: float, total: float, title: str = "") -> None: ...


@contextmanager
def progress_bar(title: str, amount: Amount = count, *, console: Console | None = None) -> Iterator[Show]:
    """A progress bar on stderr during the block, which disappears at its end.

    If stderr is no terminal, a line every ten seconds says how far the work is. Work that does not call what the block
    gets shows the time that has passed.

    amount: ``count``, ``clock`` for seconds of audio, or ``size`` for bytes; console: that other lines are written to
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), _Reached(amount), TimeRemainingColumn())
    with progress_on_stderr(*columns, console=console) as bar:
        task = bar.add_task(printable(title), total=None)

        def show(done: float, total: float, title: str = title) -> None:
            bar.update(task, completed=done, total=total or None, description=printable(title))

        def line() -> str:
            now = bar.tasks[0]
            left = f", about {clock(now.time_remaining)} left" if now.time_remaining else ""
            reached = f"{_Reached(amount).text(now, ' of ')}, " if now.total else ""
            return f"{now.description}: {reached}{clock(now.elapsed or 0)} so far{left}"

        with lines_in_log(line, console):
            yield show


def byte_bar(title: str) -> AbstractContextManager[Show]:
    """A progress bar of bytes."""
    return progress_bar(title, size)


class _Reached(ProgressColumn):
    """``3/12``, or the time that has passed if the total is unknown."""

    def __init__(self, amount: Amount) -> None:
        super().__init__()
        self._amount = amount

    def render(self, task: RichTask) -> Text:
        return Text(self.text(task, "/") if task.total else clock(task.elapsed or 0), style="progress.download")

    def text(self, task: RichTask, between: str) -> str:
        return f"{self._amount(task.completed)}{between}{self._amount(task.total or 0)}"


@contextmanager
def lines_in_log(line: Callable[[], str], console: Console) -> Iterator[None]:
    """Print ``line()`` every ten seconds of the block, unless ``console`` is a terminal, where a bar says it."""
    if console.quiet or _shows_bars(console):
        yield
        return
    ended = Event()

    def write() -> None:
        while not ended.wait(LINE_EVERY_S):
            if _writing[-1] is ended:  # an inner block speaks for the outer one
                console.print(line(), soft_wrap=True, markup=False, highlight=False, emoji=False)

    _writing.append(ended)
    writer = Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()  # what follows may fork, which is for processes of one thread
        _writing.remove(ended)


_writing: list[Event] = []


def track(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yield the items, and show a progress bar."""
    with progress_bar(title) as show:
        for done, item in enumerate(items):
            show(done, total)
            yield item


def _shows_bars(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and not console.quiet


@contextmanager
def progress_on_stderr(
    *columns: ProgressColumn, console: Console, speed_estimate_period: float = 30.0
) -> Iterator[Progress]:
    """A progress bar during the block, shown if ``console``, which writes to stderr, is a terminal.

    Standard output is not changed; if it is the same terminal, its lines are written above the bar. A nested bar
    replaces the outer one meanwhile.
    """
    shown = _shows_bars(console)
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
