"""Output and logs of a run: a progress bar and a line for each epoch on stderr, ``train.jsonl``, and services.

``train.jsonl`` has one JSON object a line; ``event`` is ``step`` or ``epoch``. A resumed run drops the lines after its
checkpoint, so that every step is there once.

TensorBoard, Weights & Biases and MLflow are optional. They are set up by their own variables: WANDB_PROJECT,
WANDB_MODE=offline, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME. ``EXP/loggers.json`` keeps the id of the run there,
which a resumed run continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from recitative.atomic import update_text
from recitative.errors import RunError, printable
from recitative.reading import read_json
from recitative.terminal import Show, clock, lines_in_log, progress_bar, progress_on_stderr
from recitative.train.checkpoint import Progress


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


IDS = "loggers.json"


class Logger(Protocol):
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""

    def close(self) -> None:
        """Write all that waits."""


def open_logger(name: str, folder: Path, step: int, settings: Mapping[str, Any]) -> Logger:
    """Start logging a run, or go on after ``step`` steps.

    name: 'tensorboard', 'wandb' or 'mlflow'; settings: nested, shown beside the curves
    Raises RunError if the service cannot be reached or set up.
    """
    if name == "tensorboard":
        return _TensorBoard(folder, step)
    module = import_module(name)
    known = _read_ids(folder) if step else {}
    try:
        logger = (_Wandb if name == "wandb" else _Mlflow)(module, folder, known.get(name), settings)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        offline = "set WANDB_MODE=offline" if name == "wandb" else "set MLFLOW_TRACKING_URI"
        raise RunError(
            f"--log {name}: {name} does not start ({reason}); {offline}, or leave out --log {name}"
        ) from None
    update_text(folder / IDS, json.dumps(_read_ids(folder) | {name: logger.run_id}) + "\n")
    return logger


def _read_ids(folder: Path) -> dict[str, str]:
    path = folder / IDS
    ids = read_json(path) if path.exists() else {}
    return ids if isinstance(ids, dict) else {}


class _TensorBoard:
    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, wandb: Any, folder: Path, run_id: str | None, settings: Mapping[str, Any]) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "recitative"), name=folder.name, id=run_id, resume="allow",
            dir=str(folder), config=dict(settings),
        )  # fmt: skip
        self.run_id = str(self._run.id)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, mlflow: Any, folder: Path, run_id: str | None, settings: Mapping[str, Any]) -> None:
        self._mlflow = mlflow
        if run_id is None:
            mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "recitative"))
        self.run_id = str(mlflow.start_run(run_id=run_id, run_name=folder.name).info.run_id)
        mlflow.log_params(_flat(settings))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """'section.key' -> value."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
