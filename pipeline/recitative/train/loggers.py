"""Where the curves of a run go besides ``train.jsonl``: TensorBoard, Weights & Biases, MLflow. Each is optional.

The services are set up by their own variables: WANDB_PROJECT, WANDB_MODE=offline, MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME. ``EXP/loggers.json`` keeps the id of the run there, which a resumed run continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from recitative.atomic import update_text
from recitative.errors import RunError
from recitative.reading import read_json

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
