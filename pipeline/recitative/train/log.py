"""Output and logs of a run: a progress bar and a line for each epoch on stderr, ``train.jsonl``, and loggers.

``train.jsonl`` has one JSON object a line; ``event`` is ``step`` or ``epoch``. A resumed run drops the lines after its
checkpoint, so that every step is there once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from recitative.atomic import update_text
from recitative.errors import printable
from recitative.terminal import Show, clock, lines_in_log, progress_bar, progress_on_stderr
from recitative.train.checkpoint import Progress
from recitative.train.loggers import Logger


class Console:
    """Writes to stderr, unless ``quiet``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._rich = RichConsole(stderr=True, quiet=quiet, highlight=False, markup=False, emoji=False)

    def note(self, text: str) -> None:
        """A line about the run."""
        self._rich.print(f"train: {printable(text)}", soft_wrap=True)

    def progress(self, title: str) -> AbstractContextManager[Show]:
        """A progress bar during a block."""
        return progress_bar(title, console=self._rich)

    @contextmanager
    def run(self, epochs: int, progress: Progress) -> Iterator[RunDisplay]:
        """The display of one run."""
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
            display = RunDisplay(bar, self._rich, epochs)
            with lines_in_log(display.line, self._rich):
                yield display


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

    def line(self) -> str:
        """Where the run is, in a log."""
        task = self._bar.tasks[0]
        if not task.total:
            return "train: first step"
        left = f", about {clock(task.time_remaining)} left" if task.time_remaining else ""
        step = f"step {task.completed:.0f} of {task.total:.0f}"
        return f"train: epoch {task.description}, {step}, {task.fields['note']}{left}"

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


class RunLog:
    def __init__(self, folder: Path, step: int, epoch: int, loggers: Sequence[Logger] = ()) -> None:
        """Continue the log after ``step`` steps and ``epoch`` whole epochs; 0 starts it anew.

        loggers: get the curves, too
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "train.jsonl"
        _drop_after(path, step, epoch)
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a line is there at once
        self._loggers = loggers

    def step(self, step: int, **values: float | bool) -> None:
        self._write({"event": "step", "step": step, **values})
        self._draw(step, {f"train/{name}": float(values[name]) for name in ("loss", "lr", "grad_norm")})

    def epoch(self, step: int, **values: float | bool) -> None:
        self._write({"event": "epoch", "step": step, **values})
        shown = {
            name: float(value) for name, value in values.items() if name.startswith("dev_") or name == "train_loss"
        }
        self._draw(step, {f"epoch/{name}": value for name, value in shown.items()})

    def close(self) -> None:
        self._file.close()
        for logger in self._loggers:
            logger.close()

    def _draw(self, step: int, values: Mapping[str, float]) -> None:
        for logger in self._loggers:
            logger.scalars(values, step)

    def _write(self, values: dict[str, Any]) -> None:
        self._file.write(json.dumps(values) + "\n")


def _drop_after(path: Path, step: int, epoch: int) -> None:
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _is_before(line, step, epoch)]
    update_text(path, "".join(line + "\n" for line in kept))


def _is_before(line: str, step: int, epoch: int) -> bool:
    """An epoch whose last step is saved may have been scored and logged, and then the run was killed."""
    try:
        values = json.loads(line)
        return int(values["step"]) <= step and (values["event"] != "epoch" or int(values["epoch"]) < epoch)
    except (ValueError, KeyError, TypeError):
        return False  # the line that was being written when the run was killed
