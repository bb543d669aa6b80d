"""The training loop, one and visible: batches, loss, clipping, step; evaluate and keep the best after each epoch.

Exact resume: the order of batches depends on (seed, epoch) alone, and the random numbers of a step on (seed, step)
alone, so a run that was interrupted anywhere and started again ends in the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from recitative.config import TrainSettings
from recitative.errors import RunError
from recitative.train.checkpoint import Checkpoints, Progress
from recitative.train.console import Console
from recitative.train.log import RunLog
from recitative.train.schedule import learning_rate
from recitative.train.task import Task


def fit(task: Task, settings: TrainSettings, folder: Path, *, device: torch.device, console: Console) -> Progress:
    """Train ``task.network`` in place to the end of the schedule or until patience runs out.

    Goes on from the checkpoint in ``folder`` if there is one. SIGINT and SIGTERM save a checkpoint and raise RunError.
    Raises RunError, with the utterances named, after ``max_bad_steps`` steps in a row with NaN or infinite numbers.
    """
    network = task.network.to(device)
    optimiser = _optimiser(network, settings)
    checkpoints = Checkpoints(folder)
    progress = checkpoints.load(network, optimiser) or Progress()
    log = RunLog(folder, progress.step)
    bad_batches: list[str] = []
    started = time.monotonic() - progress.seconds
    with _stop_signals() as stop, console.run(settings.epochs, progress) as show:
        while not progress.finished:
            network.train()
            total = task.num_batches(progress.epoch)
            for batch in task.batches(progress.epoch, progress.batch):
                rate = learning_rate(settings, progress.step, progress.epoch + progress.batch / total)
                result = _train_step(task, batch, optimiser, rate, settings, progress.step, device)
                progress.step += 1
                progress.batch += 1
                progress.seconds = time.monotonic() - started
                if result.skipped:
                    progress.skipped += 1
                    bad_batches.extend(batch.names)
                else:
                    progress.epoch_loss += result.loss_sum
                    progress.epoch_count += result.count
                    bad_batches.clear()
                log.step(progress.step, epoch=progress.epoch, lr=rate, audio_s=batch.seconds,
                         seconds=progress.seconds, **result.to_log())  # fmt: skip
                show.step(progress, result.loss, total, batch.seconds)
                _stop_if_hopeless(bad_batches, result, settings, progress)
                if progress.step % settings.checkpoint_every_steps == 0:
                    checkpoints.save(network, optimiser, progress)
                if stop.requested:
                    checkpoints.save(network, optimiser, progress)
                    log.close()
                    raise RunError(f"{folder}: stopped at step {progress.step}; run the same command again to go on")
            _end_epoch(task, settings, checkpoints, progress, log, show, started)
            checkpoints.save(network, optimiser, progress)
            checkpoints.remove_dropped(progress)
    log.close()
    return progress


@dataclass(frozen=True)
class StepResult:
    loss_sum: float
    count: int
    grad_norm: float
    clipped: bool
    skipped: bool

    @property
    def loss(self) -> float:
        return self.loss_sum / max(self.count, 1)

    def to_log(self) -> dict[str, float | bool]:
        return {"loss": self.loss, "grad_norm": self.grad_norm, "clipped": self.clipped, "skipped": self.skipped}


def _train_step(
    task: Task,
    batch: Any,
    optimiser: torch.optim.Optimizer,
    rate: float,
    settings: TrainSettings,
    step: int,
    device: torch.device,
) -> StepResult:
    """One optimiser step, skipped if the loss or the gradient is not finite."""
    torch.manual_seed(settings.seed * 1_000_003 + step)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16 and _has_bf16(device)):
        loss_sum, count = task.loss(batch)
    (loss_sum / max(count, 1)).backward()  # type: ignore[no-untyped-call]
    norm = float(_clip(optimiser, settings.clip_norm))
    loss_value = float(loss_sum.detach())
    skipped = not (math.isfinite(loss_value) and math.isfinite(norm))
    if not skipped:
        optimiser.step()
    return StepResult(loss_value, count, norm, norm > settings.clip_norm, skipped)


def _clip(optimiser: torch.optim.Optimizer, max_norm: float) -> Tensor:
    """Scale all gradients down to a joint norm of at most ``max_norm`` (Pascanu et al. 2013); returns the norm."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)


def _stop_if_hopeless(bad: list[str], result: StepResult, settings: TrainSettings, progress: Progress) -> None:
    in_a_row = progress.bad_in_a_row = progress.bad_in_a_row + 1 if result.skipped else 0
    if in_a_row >= settings.max_bad_steps:
        names = ", ".join(sorted(set(bad))[:20])
        raise RunError(
            f"step {progress.step}: the loss or gradient was NaN or infinite {in_a_row} steps in a row; last batches: "
            f"{names}; listen to these utterances, or lower train.learning_rate or train.clip_norm"
        )


def _end_epoch(
    task: Task,
    settings: TrainSettings,
    checkpoints: Checkpoints,
    progress: Progress,
    log: RunLog,
    show: Any,
    started: float,
) -> None:
    """Score the dev set, keep the weights if they are among the best, and move to the next epoch."""
    task.network.eval()
    with torch.no_grad():
        scores = dict(task.evaluate())
    best = checkpoints.keep_epoch(task.network, progress, scores.pop("score"), settings.keep_best)
    progress.epochs_without_gain = 0 if best else progress.epochs_without_gain + 1
    train_loss = progress.epoch_loss / max(progress.epoch_count, 1)
    progress.seconds = time.monotonic() - started
    log.epoch(progress.step, epoch=progress.epoch, train_loss=train_loss, seconds=progress.seconds, best=best, **scores)
    show.epoch(progress, train_loss, scores, best)
    progress.epoch, progress.batch = progress.epoch + 1, 0
    progress.epoch_loss, progress.epoch_count = 0.0, 0
    out_of_patience = 0 < settings.patience <= progress.epochs_without_gain
    progress.finished = progress.epoch >= settings.epochs or out_of_patience


def _optimiser(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019); biases and normalisation gains are not decayed."""
    matrices = [p for p in network.parameters() if p.dim() >= 2]
    vectors = [p for p in network.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def _has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it would be emulated, and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def choose_device(settings: TrainSettings) -> torch.device:
    """The device that ``train.device`` names; ``auto`` takes a GPU if there is one. Raises RunError without one."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RunError("train.device=cuda: this machine has no usable GPU; set train.device to cpu or auto")
    if settings.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


class _Stop:
    requested = False


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Turn SIGINT and SIGTERM into a request that the loop honours between two steps; a second one acts at once."""
    stop = _Stop()

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
