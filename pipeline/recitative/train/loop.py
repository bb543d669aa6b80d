"""The training loop, one and visible: batches, loss, clipping, step; evaluate and keep the best after each epoch.

Exact resume: the order of batches depends on (seed, epoch) alone, and the random numbers of a step on (seed, step) and
the worker, so a run that was interrupted anywhere and started again ends in the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recitative.atomic import sweep
from recitative.config import TrainSettings
from recitative.errors import RunError
from recitative.train.average import MovingAverage
from recitative.train.checkpoint import Checkpoints, Progress
from recitative.train.console import Console, RunDisplay
from recitative.train.log import RunLog
from recitative.train.schedule import learning_rate
from recitative.train.step import Stepper, StepResult, new_optimiser
from recitative.train.stop import Stop, stop_signals
from recitative.train.task import Task
from recitative.train.world import World


def fit(
    task: Task,
    settings: TrainSettings,
    folder: Path,
    *,
    device: torch.device,
    console: Console,
    world: World = World(),
    digest: str = "",
) -> Progress:
    """Train ``task.network`` in place to the end of the schedule or until patience runs out.

    Goes on from the checkpoint in ``folder`` if there is one, whatever number of workers wrote it; raises UsageError if
    it is of other settings, those of another ``digest``. SIGINT and SIGTERM
    save a checkpoint and raise RunError. Raises RunError, with the utterances named, after ``max_bad_steps`` steps in a
    row with NaN or infinite numbers. Only the first worker writes and talks.
    """
    task.network.to(device)
    optimiser = new_optimiser(task.network, settings)
    average = MovingAverage(task.network, settings.ema)
    checkpoints = Checkpoints(folder, digest)
    progress = checkpoints.load(task.network, optimiser, average) or Progress()
    world.require_same({"checkpoint at step": progress.step})
    stepper = Stepper(task, optimiser, settings, device, world)
    run = _Run(task, settings, world, stepper, average, checkpoints, progress)
    if world.is_first:
        sweep(checkpoints.latest.parent, checkpoints.epochs)
        if progress.step:
            checkpoints.remove_dropped(progress)
    log = RunLog(folder, progress.step, progress.epoch) if world.is_first and not progress.finished else None
    with stop_signals() as stop, console.run(settings.epochs, progress) as show:
        while not progress.finished:
            run.epoch(stop, log, show)
    if log:
        log.close()
    return progress


@dataclass
class _Run:
    """What a run consists of, and its clock."""

    task: Task
    settings: TrainSettings
    world: World
    stepper: Stepper
    average: MovingAverage
    checkpoints: Checkpoints
    progress: Progress
    bad_batches: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.monotonic() - self.progress.seconds

    def epoch(self, stop: Stop, log: RunLog | None, show: RunDisplay) -> None:
        """The rest of the present epoch, to its scores and its checkpoint."""
        progress = self.progress
        self.task.network.train()
        total = self.task.num_batches(progress.epoch)
        asked = time.monotonic()
        for batch in self.task.batches(progress.epoch, progress.batch):
            wait_s = time.monotonic() - asked
            rate = learning_rate(self.settings, progress.step, progress.epoch + progress.batch / total)
            result = self._step(batch, rate, stop)
            self._count(batch, result, wait_s)
            if log:
                padding = 1 - batch.seconds / batch.padded_s if batch.padded_s else 0.0
                log.step(
                    progress.step,
                    epoch=progress.epoch,
                    lr=rate,
                    audio_s=batch.seconds,
                    wait_s=wait_s,
                    padding=padding,
                    splits=result.splits,
                    seconds=progress.seconds,
                    **result.to_log(),
                )
            show.step(progress, result.loss, total, batch.seconds * self.world.size)
            self._stop_if_hopeless(result)
            if progress.step % self.settings.checkpoint_every_steps == 0:
                self._save()
            if result.stop:
                self._stop(log)
            asked = time.monotonic()
        self._end_epoch(log, show)

    def _step(self, batch: Any, rate: float, stop: Stop) -> StepResult:
        result = self.stepper.take(batch, rate, self.progress.step, stop)
        if not result.skipped:
            self.average.update(self.task.network, self.progress.step + 1)
        return result

    def _count(self, batch: Any, result: StepResult, wait_s: float) -> None:
        progress = self.progress
        progress.step += 1
        progress.batch += 1
        progress.splits += result.splits
        progress.wait_s += wait_s
        progress.audio_s += batch.seconds
        progress.padded_s += batch.padded_s
        progress.seconds = time.monotonic() - self._started
        if result.skipped:
            progress.skipped += 1
            self.bad_batches.extend(batch.names)
        else:
            progress.epoch_loss += result.loss_sum
            progress.epoch_count += result.count
            self.bad_batches.clear()

    def _stop_if_hopeless(self, result: StepResult) -> None:
        progress = self.progress
        in_a_row = progress.bad_in_a_row = progress.bad_in_a_row + 1 if result.skipped else 0
        if in_a_row >= self.settings.max_bad_steps:
            names = ", ".join(sorted(set(self.bad_batches))[:20])
            raise RunError(
                f"step {progress.step}: the loss or gradient was NaN or infinite {in_a_row} steps in a row; last "
                f"batches: {names}; listen to these utterances, or lower train.learning_rate or train.clip_norm"
            )

    def _stop(self, log: RunLog | None) -> None:
        self._save()
        if log:
            log.close()
        raise RunError(
            f"{self.checkpoints.folder}: stopped at step {self.progress.step}; run the same command again to go on"
        )

    def _save(self) -> None:
        if self.world.is_first:
            self.checkpoints.save(self.task.network, self.stepper.optimiser, self.average, self.progress)

    def _end_epoch(self, log: RunLog | None, show: RunDisplay) -> None:
        """Score the dev set, keep the weights if they are among the best, and move to the next epoch."""
        progress = self.progress
        self.task.network.eval()
        with self.average.in_place(self.task.network):
            scores = self.world.from_first(self._scores() if self.world.is_first else None)
            best = progress.rank(scores.pop("score", -float(progress.epoch)), self.settings.keep_best)
            if self.world.is_first and any(epoch == progress.epoch for _, epoch in progress.best):
                self.checkpoints.keep_epoch(self.task.network, progress.epoch)
        progress.epochs_without_gain = 0 if best else progress.epochs_without_gain + 1
        train_loss = progress.epoch_loss / max(progress.epoch_count, 1)
        progress.seconds = time.monotonic() - self._started
        if log:
            log.epoch(progress.step, epoch=progress.epoch, train_loss=train_loss, seconds=progress.seconds, best=best,
                      **scores)  # fmt: skip
        show.epoch(progress, train_loss, scores, best)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.epoch_loss, progress.epoch_count = 0.0, 0
        out_of_patience = 0 < self.settings.patience <= progress.epochs_without_gain
        progress.finished = progress.epoch >= self.settings.epochs or out_of_patience
        self._save()
        if self.world.is_first:
            self.checkpoints.remove_dropped(progress)

    def _scores(self) -> dict[str, float]:
        with torch.no_grad():
            return dict(self.task.evaluate())
