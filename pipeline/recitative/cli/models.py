"""Opening a model that a user names: a pretrained one, a folder from training, or a file from export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recitative.errors import DataError
from recitative.models import pretrained

if TYPE_CHECKING:
    from recitative.models.transcriber import Transcriber
    from recitative.runtime.recognizer import Recognizer

MODEL_HELP = "A pretrained model's name, a model folder such as EXP/model, or an exported file."


def find_model(name: str) -> Path:
    """The folder or file of a model; nothing named is the pretrained streaming one, and says so on stderr.

    Raises DataError for what does not exist.
    """
    if not name:
        name = pretrained.STREAMING
        print(f"model: {name} (others with --model: {', '.join(pretrained.names())}, or a path)", file=sys.stderr)
    path = pretrained.find(name)
    if not path.exists():
        known = ", ".join(pretrained.names()) or "none"
        raise DataError(name, "is no model", f"a path, or a pretrained model: {known}", "correct --model")
    return path


def open_transcriber(model: Path) -> Transcriber:
    """A folder runs on PyTorch, a file on ONNX Runtime, which needs no PyTorch. Raises DataError for neither."""
    if model.is_dir():
        from recitative.models.folder import load_recogniser
        from recitative.recognition.network import new_transcriber

        return new_transcriber(load_recogniser(model))
    from recitative.runtime.network import load_transcriber

    return load_transcriber(model)


def open_recognizer(model: Path) -> Recognizer:
    """Of the same models; at module level, so that worker processes can be told of it."""
    from recitative.runtime.recognizer import Recognizer

    return Recognizer(open_transcriber(model))
