"""Where a run computes."""

from __future__ import annotations

import torch

from recitative.config import TrainSettings
from recitative.errors import RunError
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


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it would be emulated, and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
