"""The record of a run: ``train.jsonl`` for tools and the report, TensorBoard for watching.

One JSON object a line, ``event`` is ``step`` or ``epoch``. A resumed run drops the lines after its checkpoint, so that
every step stands there once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from recitative.atomic import update_text


class RunLog:
    def __init__(self, folder: Path, step: int, epoch: int) -> None:
        """Continue the log after ``step`` steps and ``epoch`` whole epochs; 0 starts it anew."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "train.jsonl"
        _drop_after(path, step, epoch)
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a line is there at once
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def step(self, step: int, **values: float | bool) -> None:
        self._write({"event": "step", "step": step, **values})
        for name in ("loss", "lr", "grad_norm"):
            self._board.add_scalar(f"train/{name}", values[name], step)

    def epoch(self, step: int, **values: float | bool) -> None:
        self._write({"event": "epoch", "step": step, **values})
        for name, value in values.items():
            if name.startswith("dev_") or name == "train_loss":
                self._board.add_scalar(f"epoch/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._board.close()

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
