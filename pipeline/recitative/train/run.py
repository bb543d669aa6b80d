"""Training a model of any kind: claim the folder, prepare the task, run the loop, save the best epoch."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from pydantic import BaseModel

from recitative import __version__
from recitative.atomic import one_writer, update_text
from recitative.config import TrainingData, TrainSettings, dump_settings, load_tree, validate_tree, with_older_names
from recitative.data.parallel import available_cores
from recitative.errors import DataError, Problem, RecitativeError, UsageError, counted, printable
from recitative.model.folder import load_weights, save_model
from recitative.model.kind import ModelKind, imported
from recitative.reading import parsed_json
from recitative.score.results import describe_commit, describe_machine
from recitative.train.checkpoint import Checkpoints, Progress
from recitative.train.distributed import DistributedContext, choose_device, join_ranks, num_ranks
from recitative.train.log import Console, open_logger
from recitative.train.loop import fit
from recitative.train.task import Task

SETTINGS, INPUTS, ENVIRONMENT, SUMMARY = "settings.yaml", "inputs.json", "environment.json", "summary.json"

# A resumed run may change these, since they change no result except by rounding.
FREE = ("accumulate", "max_batch_s", "recompute", "workers", "threads", "cache_mb", "device", "checkpoint_every_steps")


@dataclass(frozen=True)
class TrainedModel:
    """The result of a run. folder: of the model, or of the run where 'recitative average' makes the model;
    scores: see ``Task.result``."""

    folder: Path
    progress: Progress
    scores: str
    task: Task

    def __str__(self) -> str:
        """One line for the user."""
        progress = self.progress
        steps = f"{counted(progress.epoch, 'epoch')}, {counted(progress.step, 'step')}"
        line = f"{self.folder}: {steps} in {progress.seconds:.0f} s"
        if progress.padded_s:
            padding = 1 - progress.audio_s / progress.padded_s
            line += f", {progress.skipped} skipped; waited {progress.wait_s:.1f} s for data, {padding:.1%} padding"
        return f"{line}; {self.scores}"


@dataclass
class TrainingRun:
    """A run that is being prepared: the argument of ``prepare`` besides settings and data."""

    folder: Path
    data: TrainingData
    device: torch.device
    context: DistributedContext
    console: Console
    settings: BaseModel | None = None  # resolved ones, which are written once nothing was refused
    digest: str = ""

    def start(self, settings: BaseModel, *texts: str) -> None:
        """Require that the folder is free for these settings, and seed torch's random numbers. To be called before a
        network is made.

        settings: resolved ones, which determine the result together with the data
        texts: what else a run cannot be resumed without, such as the token table
        Raises UsageError if the folder holds a run of others.
        """
        path = self.folder / SETTINGS
        if holds_settings(self.folder) and _of_result(load_tree(type(settings), path)) != _of_result(settings):
            raise UsageError(
                f"{self.folder}: holds a run with other settings ({path}); train into another folder, or "
                "remove this one"
            )
        self.digest = run_digest(settings, *texts)
        Checkpoints(self.folder, self.digest).progress()  # another run's is refused
        self.settings = settings
        torch.manual_seed(settings.train.seed)  # type: ignore[attr-defined]

    def note(self, text: str) -> None:
        """A line about the run on stderr, unless it is to be quiet."""
        self.console.note(text)

    def warn(self, text: str) -> None:
        """A line on stderr about something in the data that the user should know."""
        if self.context.is_first:
            print(printable(text), file=sys.stderr)

    def warn_of_left_out(self, problem: Problem) -> None:
        self.warn(f"left out: {problem}")


def train_model(
    kind: ModelKind,
    settings: BaseModel,
    data: TrainingData,
    folder: Path,
    *,
    quiet: bool = False,
    loggers: Sequence[str] = ("tensorboard",),
) -> TrainedModel:
    """Train into ``folder``, or resume where a run with the same settings stopped. The model is ``folder/model``.

    kind, settings, data: as ``kinds.load_training`` gives them; loggers: what gets the curves besides ``train.jsonl``
    Under torchrun this is one rank of many, and only the first writes files. Raises UsageError if the folder holds a
    run with other settings or the kind is not trained by several ranks, RunError if another process writes to the
    folder or if ranks have other data, and what reading the data and the loop raise.
    """
    train: TrainSettings = settings.train  # type: ignore[attr-defined]
    for name in loggers:
        import_module(name)  # so that a missing package is told before the data is read
    if num_ranks() > 1 and not kind.distributed:
        raise UsageError(f"{kind.with_article} is trained by one worker; run it without torchrun")
    device = choose_device(train)
    with join_ranks(device) as context, ExitStack() as held:
        run = TrainingRun(folder, data, device, context, Console(quiet=quiet or not context.is_first))
        error: RecitativeError | None = None
        try:
            if context.is_first:
                held.enter_context(one_writer(folder))
            with run.console.progress("read the data"):
                task: Task = imported(kind.task)(settings, data, run)
        except RecitativeError as caught:
            error = caught
        context.raise_together(error)
        context.assert_same_across_ranks(
            {"version": __version__, **task.identity(), "settings (SHA-256)": _sha256(dump_settings(settings))[:12]}
        )
        torch.set_num_threads(num_threads(train, task, context))
        if context.is_first:
            assert run.settings is not None, "prepare calls run.start"
            update_text(folder / SETTINGS, dump_settings(run.settings))
            update_text(
                folder / INPUTS, json.dumps(data.model_dump(mode="json", exclude_defaults=True), indent=1) + "\n"
            )
            _write_environment(folder / ENVIRONMENT, task, device, context)
        shown = settings.model_dump(mode="json")
        progress = fit(
            task, train, folder, device=device, console=run.console, context=context, digest=run.digest,
            open_loggers=lambda step: [open_logger(name, folder, step, shown) for name in loggers],
        )  # fmt: skip
        if context.is_first:
            summary = {"epochs": progress.epoch, "steps": progress.step, "seconds": round(progress.seconds, 1),
                       "wait_s": round(progress.wait_s, 1), "splits": progress.splits}  # fmt: skip
            update_text(folder / SUMMARY, json.dumps(summary) + "\n")
            if kind.saved_by_training:
                best = Checkpoints(folder).epoch_path(int(progress.best[0][1]))
                task.network.load_state_dict(load_weights(best))
                task.network.eval()
                save_model(task.finished_model(), folder / "model")
        made = folder / "model" if kind.saved_by_training else folder
        return TrainedModel(made, progress, task.result(progress), task)


def num_threads(settings: TrainSettings, task: Task, context: DistributedContext) -> int:
    """``train.threads``, or this rank's cores without those of the processes that prepare batches."""
    return settings.threads or max(1, available_cores() // context.local_size - task.loader_processes)


def holds_settings(folder: Path) -> bool:
    """Whether a folder has a run to resume, with its settings; its checkpoint then has a digest too."""
    path = folder / SETTINGS
    return Checkpoints(folder).latest.exists() and path.exists() and path.stat().st_size > 0


def run_digest(settings: BaseModel, *texts: str) -> str:
    """SHA-256 of what a run cannot be resumed without: the settings that are not the defaults, so that new settings
    change nothing, and texts."""
    chosen = _of_result(settings).model_dump(mode="json", exclude_defaults=True)
    return _sha256(json.dumps([with_older_names(chosen), *texts], sort_keys=True))


def read_inputs(folder: Path, kind: ModelKind) -> TrainingData:
    """The inputs of the run in a folder. Raises DataError for a folder without a run."""
    path = folder / INPUTS
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise DataError(str(folder), f"has no {INPUTS}", "a training run's folder", "run 'recitative train'") from None
    return validate_tree(kind.data, parsed_json(text, str(path), "a training run's inputs"), where=str(path))


def _of_result(settings: BaseModel) -> BaseModel:
    train: TrainSettings = settings.train  # type: ignore[attr-defined]
    standard = type(train)()
    return settings.model_copy(
        update={"train": train.model_copy(update={name: getattr(standard, name) for name in FREE})}
    )


def _write_environment(path: Path, task: Task, device: torch.device, context: DistributedContext) -> None:
    """Write versions, device and machine, for the report."""
    environment = {
        "recitative": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "workers": context.size,
        "threads": torch.get_num_threads(),
        "machine": describe_machine(),
        "cores": available_cores(),
        "commit": describe_commit(Path(__file__).parent),
        "parameters": sum(p.numel() for p in task.network.parameters()),
        **task.environment(),
    }
    update_text(path, json.dumps(environment, indent=1) + "\n")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
