"""Opening a model that a user names: a folder from training, or a file from export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recitative.models.transcriber import Transcriber
    from recitative.runtime.recognizer import Recognizer


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
