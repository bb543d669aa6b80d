"""Where a run computes."""

from __future__ import annotations

import os

import torch

from recitative.config import TrainSettings
from recitative.errors import RunError, UsageError
from recitative.machine import available_cores
from recitative.train.world import local_rank


def choose_device(settings: TrainSettings) -> torch.device:
    """The device that ``train.device`` names; ``auto`` takes a GPU if there is one, each worker its own.

    Raises RunError without one, and for more workers on this machine than it has GPUs.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise RunError("train.device=cuda: this machine has no usable GPU; set train.device to cpu or auto")
    if settings.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank() >= torch.cuda.device_count():
        raise RunError(
            f"worker {local_rank()} of this machine has no GPU of its own: there are {torch.cuda.device_count()}; "
            "start as many workers as GPUs, or set train.device to cpu"
        )
    return torch.device("cuda", local_rank())


def lone_device(settings: TrainSettings, refusal: str, *, loaders: int = 0) -> torch.device:
    """The device of a training that is one worker's, with all cores as its threads but those of ``loaders``.

    Raises UsageError under torchrun, where ``refusal`` says what is one worker's, and RunError as ``choose_device``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(f"{refusal}; run it without torchrun")
    device = choose_device(settings)
    torch.set_num_threads(settings.threads or max(1, available_cores() - loaders))
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it would be emulated, and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
