"""What a run shows on stderr: a progress bar with the time left, and one line for each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from recitative.errors import printable
from recitative.terminal import progress_on_stderr
from recitative.train.checkpoint import Progress


class Console:
    """``run`` gives the display of one run; silent if ``quiet``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._rich = RichConsole(stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False)

    def note(self, text: str) -> None:
        """A line about the run."""
        self._rich.print(f"train: {printable(text)}", soft_wrap=True)

    @contextmanager
    def run(self, epochs: int, progress: Progress) -> Iterator[RunDisplay]:
        if progress.step:
            where = f"epoch {progress.epoch + 1}, step {progress.step}"
            self._rich.print(
                f"train: finished before, at {where}" if progress.finished else f"train: resume at {where}"
            )
        columns = (
            TextColumn("epoch {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with progress_on_stderr(*columns, console=self._rich, speed_estimate_period=120) as bar:
            yield RunDisplay(bar, self._rich, epochs)


class RunDisplay:
    def __init__(self, bar: Bar, rich: RichConsole, epochs: int) -> None:
        self._bar, self._rich, self._epochs = bar, rich, epochs
        self._task = bar.add_task("", total=None, note="")
        self._audio_s = 0.0
        self._first_seconds: float | None = None

    def step(self, progress: Progress, loss: float, batches: int, audio_s: float) -> None:
        if self._first_seconds is None:
            self._first_seconds = progress.seconds
        else:
            self._audio_s += audio_s
        spent = progress.seconds - self._first_seconds
        speed = f", {self._audio_s / spent:.0f} x real time" if spent > 1 else ""
        self._bar.update(
            self._task,
            description=f"{progress.epoch + 1}/{self._epochs}",
            completed=progress.epoch * batches + progress.batch,
            total=self._epochs * batches,
            note=f"loss {loss:.3f}{speed}",
        )

    def epoch(self, progress: Progress, train_loss: float, scores: Mapping[str, float], best: bool) -> None:
        shown = "".join(f"  {name} {value:.4f}" for name, value in scores.items())
        skipped = f"  skipped {progress.skipped}" if progress.skipped else ""
        skipped += f"  out of memory {progress.splits} x" if progress.splits else ""
        mark = "  *" if best and scores else ""
        self._rich.print(
            f"epoch {progress.epoch + 1:3d}/{self._epochs}  {progress.seconds:6.0f} s  loss {train_loss:.4f}{shown}"
            f"{skipped}{mark}",
            soft_wrap=True,
        )
