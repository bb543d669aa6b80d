"""Opening a model of any kind: a folder from training runs on PyTorch, an exported file on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recitative import pretrained
from recitative.atomic import recover_folder
from recitative.kinds import KINDS, kind_of
from recitative.model.kind import AnyKind
from recitative.model.onnx_stage import OnnxStage


def load(model: str | Path, *, threads: int = 1) -> Any:
    """What runs a model: a Recognizer, Classifier, AnomalyDetector, language model, or generator of music or sound.

    model: a pretrained model's name, a model folder such as EXP/model, or an exported file. Raises DataError for
    anything else.
    """
    return open_model(pretrained.find(model), threads=threads)


def open_model(path: Path, kinds: Sequence[AnyKind] = KINDS, *, threads: int = 1) -> Any:
    """The same of a path, and of these kinds only. threads: of a file."""
    kind, stage, settings, extras = open_stage(path, kinds, threads=threads)
    return kind.runner(stage, settings, extras) if kind.runner else stage


def open_stage(
    path: Path, kinds: Sequence[AnyKind] = KINDS, *, threads: int = 1
) -> tuple[AnyKind, Any, Any, Mapping[str, Any]]:
    """The kind, the network as a stage (of kinds without a runner: the model), the settings and the extras."""
    recover_folder(path)
    content: Path | bytes = path
    if path.is_dir():
        from recitative.model.folder import load_model
        from recitative.model.torch_stage import TorchStage

        kind = kind_of(path, kinds)
        model = load_model(path, kind)
        if not kind.from_file:
            stage = TorchStage(model.network) if kind.runner else model
            return kind, stage, model.settings, kind.values_of(model)
        from recitative.export.file import build_file

        content, kinds = build_file(model).SerializeToString(), [kind]
    stage = OnnxStage(content, *kinds, threads=threads)
    return stage.metadata.kind, stage, stage.metadata.settings, stage.metadata.extras
