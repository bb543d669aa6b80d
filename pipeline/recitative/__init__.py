"""Recitative: speech and music on one recurrent core.

from recitative import Recognizer

print(Recognizer.load("model.onnx").transcribe("recording.flac").text)
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Recognizer", "__version__"]


def __getattr__(name: str) -> Any:
    """``Recognizer`` on first use, so that importing the package costs next to nothing."""
    if name == "Recognizer":
        return importlib.import_module("recitative.runtime.recognizer").Recognizer
    raise AttributeError(f"module 'recitative' has no attribute '{name}'")
