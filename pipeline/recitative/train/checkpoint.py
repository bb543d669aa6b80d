"""The optimizer, the learning rate over a run, the moving average of the weights, and checkpoints.

A checkpoint has everything that a run needs to go on as if it had never stopped. It is written atomically and read
without pickle.

EXP/checkpoint/latest.pt           network, moving average, optimizer, progress
EXP/epochs/epoch-0012.safetensors  weights of the best epochs, for averaging
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from recitative.atomic import replacing, require_writer
from recitative.config import TrainSettings
from recitative.errors import DataError, UsageError
from recitative.model.folder import load_weights, with_present_names


def new_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019) without weight decay of biases and normalization gains.

    Frozen parameters are left out.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2]
    vectors = [p for p in trained if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    # Fused: one pass over the memory, a seventh of the time on a CPU.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def learning_rate(settings: TrainSettings, step: int, epochs_done: float) -> float:
    """Linear warm-up over ``warmup_steps``; half a cosine from the peak down to ``final_lr_fraction`` of it, from each
    restart to the next (SGDR, Loshchilov & Hutter 2017).

        lr = peak * min(1, (step + 1) / warmup) * (f + (1 - f) * (1 + cos(pi * progress)) / 2)

    step: optimizer steps taken so far, from 0; epochs_done: epochs so far with their fraction; progress: the part of
    the current cycle that is done, 0 to 1.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    low = settings.final_lr_fraction
    cosine = math.cos(math.pi * _cycle_progress(settings, epochs_done))
    return settings.learning_rate * warm * (low + (1 - low) * (1 + cosine) / 2)


def _cycle_progress(settings: TrainSettings, epochs_done: float) -> float:
    for start, end in pairwise((0, *settings.restarts, settings.epochs)):
        if epochs_done < end:
            return (epochs_done - start) / (end - start)
    return 1.0


class WeightAverage:
    """An exponential moving average of the weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017):

        average = decay * average + (1 - decay) * weights, after each step

    The decay of step n is at most (1 + n) / (10 + n), so that the first weights are soon forgotten. Buffers that are
    not floating point are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """decay: 0 to 1; 0 = no average: the weights themselves."""
        self.decay = decay
        self._average = {name: value.detach().clone() for name, value in network.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """After step number ``step``, from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if name in self._average and value.is_floating_point():
                self._average[name].lerp_(value, 1 - decay)
            elif name in self._average:
                self._average[name].copy_(value)

    @contextmanager
    def in_place(self, network: nn.Module) -> Iterator[None]:
        """The network with the averaged weights, until the block ends."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items() if self._average}
        network.load_state_dict(self._average or network.state_dict())
        try:
            yield
        finally:
            network.load_state_dict(own or network.state_dict())

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint; empty without an average."""
        return dict(self._average)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """From a checkpoint. Raises KeyError for that of another network."""
        for name, value in self._average.items():
            value.copy_(state[name])


@dataclass
class Progress:
    """The progress of a run: all of its state except weights."""

    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    step: int = 0  # optimizer steps tried, the skipped ones included
    skipped: int = 0  # steps with a NaN or infinite loss or gradient
    seconds: float = 0.0  # spent so far, over all starts
    epoch_loss: float = 0.0  # summed over this epoch
    epoch_count: int = 0
    bad_in_a_row: int = 0
    splits: int = 0  # parts of a batch that were computed again in smaller parts, since memory ran out
    wait_s: float = 0.0  # spent waiting for batches, on the first rank, as the next two
    audio_s: float = 0.0  # trained on
    padded_s: float = 0.0  # the same with the padding
    epochs_without_gain: int = 0
    finished: bool = False
    best: list[list[float]] = field(default_factory=list)  # [score, epoch], best first

    def rank(self, score: float, keep: int) -> bool:
        """Put the present epoch among the ``keep`` best if it is one of them; True if it is the best so far."""
        is_best = not self.best or score < self.best[0][0]
        self.best = sorted([*self.best, [score, float(self.epoch)]])[:keep]
        return is_best


class Checkpoints:
    """The checkpoints of one experiment folder, of one run.

    digest: of the run's settings; '' = not known. A checkpoint with another one is refused; one without is taken, as
            older versions wrote them so.
    """

    def __init__(self, folder: Path, digest: str = "") -> None:
        self.folder, self.digest = folder, digest
        self.latest = folder / "checkpoint" / "latest.pt"
        self.epochs = folder / "epochs"

    def save(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage, progress: Progress
    ) -> None:
        """Atomic: on a full disk OSError is raised, and the checkpoint before stays."""
        require_writer(self.folder)
        content = {
            "settings": self.digest,
            "network": network.state_dict(),
            "average": average.state(),
            "optimiser": optimizer.state_dict(),
            "progress": asdict(progress),
        }
        memory = BytesIO()  # on a full disk torch.save reports a wrong position only
        torch.save(content, memory)
        _write(self.latest, memory.getbuffer())

    def load(self, network: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage) -> Progress | None:
        """Put a saved run's weights and optimizer state in place; None when there is no checkpoint.

        Raises DataError when the checkpoint is damaged or belongs to another network, UsageError when to another run.
        """
        if not self.latest.exists():
            return None
        content = self._read()
        try:
            network.load_state_dict(content["network"])
            average.load(content["average"])
            optimizer.load_state_dict(content["optimiser"])
            return Progress(**content["progress"])
        except Exception as error:  # whatever content of another network, or none, leads to
            raise self._unusable(error) from None

    def weights(self) -> dict[str, Tensor]:
        """The weights of the last step, averaged if the run has an average. Raises what ``load`` raises."""
        content = self._read()
        weights: dict[str, Tensor] = content["average"] or content["network"]
        return weights

    def progress(self) -> Progress | None:
        """The progress in the checkpoint; None without a checkpoint. Raises what ``load`` raises."""
        if not self.latest.exists():
            return None
        content = self._read(mmap=True)
        try:
            return Progress(**content["progress"])
        except Exception as error:
            raise self._unusable(error) from None

    def _read(self, *, mmap: bool = False) -> dict[str, Any]:
        try:
            content: dict[str, Any] = torch.load(self.latest, map_location="cpu", weights_only=True, mmap=mmap)
            digest = content.get("settings", "")
            content |= {part: with_present_names(content[part]) for part in ("network", "average") if part in content}
        except Exception as error:  # torch.load raises whatever the broken bytes lead to
            raise self._unusable(error) from None
        if self.digest and digest and digest != self.digest:
            raise UsageError(
                f"{self.latest}: is the checkpoint of a run with other settings or tokens than these "
                f"(those of {self.folder / 'settings.yaml'}); train into another folder, or remove this one"
            )
        return content

    def _unusable(self, error: Exception) -> DataError:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__  # the second says which weights do not fit
        return DataError(
            str(self.latest),
            f"cannot be resumed from ({reason})",
            "a checkpoint of this run's settings",
            "train into another folder, or remove this one to start again",
        )

    def keep_epoch(self, network: nn.Module, epoch: int) -> None:
        """Keep this epoch's weights, for averaging."""
        weights = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
        _write(self.epoch_path(epoch), save(weights))

    def remove_dropped(self, progress: Progress) -> None:
        """Remove epochs that are no longer among the best. After the checkpoint that says so has been written."""
        kept = {self.epoch_path(int(epoch)) for _, epoch in progress.best}
        for path in self.epochs.glob("epoch-*.safetensors"):
            if path not in kept:
                path.unlink()

    def epoch_path(self, epoch: int) -> Path:
        return self.epochs / f"epoch-{epoch:04d}.safetensors"


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of several files of weights, summed in float64; integers are taken from the first."""
    files = [load_weights(path) for path in paths]
    return {name: _mean([file[name] for file in files]) for name in files[0]}


def _mean(values: Sequence[Tensor]) -> Tensor:
    if not values[0].is_floating_point():
        return values[0]
    return torch.stack([value.double() for value in values]).mean(0).to(values[0].dtype)


def read_progress(folder: Path, digest: str = "") -> Progress:
    """The progress of an experiment. Raises DataError if it has no checkpoint, UsageError for one of another digest."""
    progress = Checkpoints(folder, digest).progress()
    if progress is None:
        raise DataError(str(folder), "has no checkpoint", "the folder of a training run", "run 'recitative train'")
    return progress


def _write(path: Path, content: bytes | memoryview) -> None:
    """Atomic, also where the machine loses power: it keeps the old file or the new one."""
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
