"""The training loop: epochs, batches, steps, evaluation and checkpoints.

    gradient of a step = sum over ranks and parts of d(loss sum) / (count of all ranks and parts)

A rank computes its part of a batch in several parts if it must (``train.accumulate``, ``train.max_batch_s``), and in
twice as many if memory runs out. Neither the number of ranks nor that of parts changes the gradient, except for
rounding and the places of dropout.

Exact resume: the order of batches depends on (seed, epoch) alone, and the random numbers of a step on (seed, step,
rank), so a run that was interrupted anywhere and started again ends in the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from recitative.atomic import sweep
from recitative.config import TrainSettings
from recitative.errors import RunError, handle_on_own_stack
from recitative.train.checkpoint import Checkpoints, Progress, WeightAverage, learning_rate, new_optimizer
from recitative.train.distributed import DistributedContext, has_bf16
from recitative.train.log import Console, Logger, RunDisplay, RunLog
from recitative.train.task import Batch, Task


def fit(
    task: Task,
    settings: TrainSettings,
    folder: Path,
    *,
    device: torch.device,
    console: Console,
    context: DistributedContext = DistributedContext(),
    digest: str = "",
    open_loggers: Callable[[int], Sequence[Logger]] = lambda step: (),
) -> Progress:
    """Train ``task.network`` in place to the end of the schedule or until patience runs out.

    Resumes from the checkpoint in ``folder`` if there is one, whatever number of ranks wrote it. Only the first rank
    writes and prints. SIGINT and SIGTERM save a checkpoint and raise RunError. Raises UsageError if the checkpoint has
    another ``digest``, that of other settings, and RunError, with the utterances named, after ``max_bad_steps`` steps
    in a row with NaN or infinite numbers.

    open_loggers: number of steps done before -> what gets the curves besides ``train.jsonl``
    """
    task.network.to(device)
    optimizer = new_optimizer(task.network, settings)
    average = WeightAverage(task.network, settings.ema)
    checkpoints = Checkpoints(folder, digest)
    progress = checkpoints.load(task.network, optimizer, average) or Progress()
    context.assert_same_across_ranks({"checkpoint at step": progress.step})
    if context.is_first:
        sweep(checkpoints.latest.parent, checkpoints.epochs)
        if progress.step:
            checkpoints.remove_dropped(progress)
    log = None
    if context.is_first and not progress.finished:
        log = RunLog(folder, progress.step, progress.epoch, open_loggers(progress.step))
    with stop_signals() as stop, console.run(settings.epochs, progress) as show:
        run = _Run(task, settings, device, context, optimizer, average, checkpoints, progress, stop, log, show)
        while not progress.finished:
            run.train_epoch()
            run.end_epoch()
    if log:
        log.close()
    return progress


class StopRequest:
    """Whether somebody asked the run to stop."""

    requested = False


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the training loop honors between two steps.

    A second signal takes effect at once.
    """
    handle_on_own_stack()
    stop = StopRequest()

    def request(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(number, previous[signal.Signals(number)])

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, request) for number in signals}
    try:
        yield stop
    finally:
        for number in signals:
            signal.signal(number, previous[number])


@dataclass
class _Run:
    """The parts of a run, and its clock."""

    task: Task
    settings: TrainSettings
    device: torch.device
    context: DistributedContext
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    checkpoints: Checkpoints
    progress: Progress
    stop: StopRequest
    log: RunLog | None
    show: RunDisplay
    bad_batches: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.monotonic() - self.progress.seconds

    def train_epoch(self) -> None:
        """The rest of the present epoch."""
        task, settings, progress = self.task, self.settings, self.progress
        task.network.train()
        total = task.num_batches(progress.epoch)
        for batch, wait_s in _timed(task.batches(progress.epoch, progress.batch)):
            rate = learning_rate(settings, progress.step, progress.epoch + progress.batch / total)
            result = train_step(
                task, batch, self.optimizer, settings, rate, progress.step, self.device, self.context, self.stop
            )
            if not result.skipped:
                self.average.update(task.network, progress.step + 1)
            self._record(batch, result, rate, wait_s, total)
            if progress.bad_in_a_row >= settings.max_bad_steps:
                names = ", ".join(sorted(set(self.bad_batches))[:20])
                raise RunError(
                    f"step {progress.step}: the loss or gradient was NaN or infinite {progress.bad_in_a_row} steps in "
                    f"a row; last batches: {names}; listen to these utterances, or lower train.learning_rate or "
                    "train.clip_norm"
                )
            if progress.step % settings.checkpoint_every_steps == 0:
                self._save()
            if result.stop:
                self._save()
                if self.log:
                    self.log.close()
                raise RunError(
                    f"{self.checkpoints.folder}: stopped at step {progress.step}; run the same command again to go on"
                )

    def end_epoch(self) -> None:
        """Score the dev set, keep the weights if they are among the best, and move to the next epoch."""
        task, progress = self.task, self.progress
        task.network.eval()
        with self.average.in_place(task.network), torch.no_grad():
            scores = self.context.from_first(dict(task.evaluate()) if self.context.is_first else None)
            best = progress.rank(scores.pop("score", -float(progress.epoch)), self.settings.keep_top_k)
            if self.context.is_first and any(epoch == progress.epoch for _, epoch in progress.best):
                self.checkpoints.keep_epoch(task.network, progress.epoch)
        progress.epochs_without_gain = 0 if best else progress.epochs_without_gain + 1
        train_loss = progress.epoch_loss / max(progress.epoch_count, 1)
        progress.seconds = time.monotonic() - self._started
        if self.log:
            values = {"epoch": progress.epoch, "train_loss": train_loss, "seconds": progress.seconds, "best": best}
            self.log.epoch(progress.step, **values, **scores)
        self.show.epoch(progress, train_loss, scores, best)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.epoch_loss, progress.epoch_count = 0.0, 0
        out_of_patience = 0 < self.settings.patience <= progress.epochs_without_gain
        progress.finished = progress.epoch >= self.settings.epochs or out_of_patience
        self._save()
        if self.context.is_first:
            self.checkpoints.remove_dropped(progress)

    def _record(self, batch: Batch, result: StepResult, rate: float, wait_s: float, total: int) -> None:
        """Count the step, log it, and show it. total: batches of the epoch."""
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
            progress.bad_in_a_row += 1
            self.bad_batches.extend(batch.names)
        else:
            progress.epoch_loss += result.loss_sum
            progress.epoch_count += result.count
            progress.bad_in_a_row = 0
            self.bad_batches.clear()
        if self.log:
            self.log.step(
                progress.step,
                epoch=progress.epoch,
                lr=rate,
                audio_s=batch.seconds,
                wait_s=wait_s,
                padding=1 - batch.seconds / batch.padded_s if batch.padded_s else 0.0,
                splits=result.splits,
                seconds=progress.seconds,
                loss=result.loss,
                grad_norm=result.grad_norm,
                clipped=result.clipped,
                skipped=result.skipped,
            )
        self.show.step(progress, result.loss, total, batch.seconds * self.context.size)

    def _save(self) -> None:
        if self.context.is_first:
            self.checkpoints.save(self.task.network, self.optimizer, self.average, self.progress)


def train_step(
    task: Task,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    rate: float,
    step: int,
    device: torch.device,
    context: DistributedContext,
    stop: StopRequest,
) -> StepResult:
    """One optimizer step on this rank's part of a global batch; skipped if a loss or gradient is not finite.

    rate: learning rate; step: the number of steps tried before, over all starts of the run
    A request to stop that any rank received by the end of its backward pass stops all ranks. Raises RunError for an
    utterance that alone does not fit into memory.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    parts, splits = min(max(settings.accumulate, parts_that_fit(batch, settings)), max(batch.rows, 1)), 0
    while True:
        optimizer.zero_grad(set_to_none=True)
        loss_sum, count = 0.0, 0
        try:
            for number, part in enumerate(batch.split(parts)):
                torch.manual_seed(_part_seed(settings.seed, step, context.rank, number))
                with torch.autocast(device.type, torch.bfloat16, settings.bf16 and has_bf16(device)):
                    part_sum, part_count = task.loss(part)
                part_sum.backward()  # type: ignore[no-untyped-call]
                loss_sum, count = loss_sum + float(part_sum.detach()), count + part_count
            break
        except RuntimeError as error:
            if not ran_out_of_memory(error):
                raise
            part_sum = torch.zeros(())  # frees the graph of the failed part
        if parts >= batch.rows:
            raise RunError(
                f"step {step}: {', '.join(batch.names)} alone do not fit into memory on {device}; lower "
                "train.max_duration_s or the model's size, or set train.recompute=true"
            )
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the free memory is fragmented
        parts, splits = min(2 * parts, batch.rows), splits + 1
    loss_sum, total, all_splits, stops = context.add(loss_sum, count, splits, float(stop.requested))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    context.add_gradients(parameters)
    for parameter in parameters:
        parameter.grad.div_(max(total, 1.0))
    norm = float(nn.utils.clip_grad_norm_(parameters, settings.clip_norm))  # Pascanu et al. 2013
    skipped = not (math.isfinite(loss_sum) and math.isfinite(norm))
    if not skipped:
        optimizer.step()
    return StepResult(loss_sum, int(total), norm, norm > settings.clip_norm, skipped, int(all_splits), stops > 0)


@dataclass(frozen=True)
class StepResult:
    """The result of a step, over all ranks."""

    loss_sum: float
    count: int
    grad_norm: float  # before clipping
    clipped: bool
    skipped: bool
    splits: int  # parts of the batch that were computed again in smaller parts, since memory ran out
    stop: bool  # whether any rank was asked to stop

    @property
    def loss(self) -> float:
        return self.loss_sum / max(self.count, 1)


def parts_that_fit(batch: Batch, settings: TrainSettings) -> int:
    """Number of parts into which this rank's share of a batch is split, by ``train.max_batch_s``."""
    for longest_s, max_batch_s in settings.max_batch_s:
        if batch.longest_s <= longest_s:
            return math.ceil(batch.padded_s / max_batch_s)
    return math.ceil(batch.padded_s / settings.max_batch_s[-1][1]) if settings.max_batch_s else 1


def ran_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch has a class for a GPU's memory, and for the machine's only a text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _part_seed(seed: int, step: int, rank: int, part: int) -> int:
    """A different seed for each part on each rank, so that dropout masks differ."""
    return (seed * 1_000_003 + step + 2**33 * (rank * 4096 + part)) % 2**63


def _timed(batches: Iterable[Any]) -> Iterator[tuple[Any, float]]:
    """Each batch with the seconds spent waiting for it."""
    asked = time.monotonic()
    for batch in batches:
        yield batch, time.monotonic() - asked
        asked = time.monotonic()
