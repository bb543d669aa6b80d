"""Recitative: speech and music on one recurrent core.

from recitative import Recognizer

print(Recognizer.load("model.onnx").transcribe("recording.flac").text)
"""

import importlib
import os
from typing import Any

# ONNX Runtime writes a device id and events to the home folder unless this is set before its first import, which may be
# that of another library (the detector of speech).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.2.0"
__all__ = [
    "DecodingOptions", "EndpointRules", "Final", "Grammar", "HotWord", "Partial", "Recognizer", "Segment", "Spotted",
    "Spotter", "Transcript", "__version__", "load", "load_classifier", "torchaudio_bundle",
]  # fmt: skip

_HOMES = {
    "DecodingOptions": "recitative.asr.decoding",
    "EndpointRules": "recitative.asr.stream",
    "Final": "recitative.asr.transcript",
    "Grammar": "recitative.decoding.hotwords",
    "HotWord": "recitative.decoding.hotwords",
    "Partial": "recitative.asr.transcript",
    "Recognizer": "recitative.asr.recognizer",
    "Segment": "recitative.asr.transcript",
    "Spotted": "recitative.keywords.spotter",
    "Spotter": "recitative.keywords.spotter",
    "Transcript": "recitative.asr.transcript",
    "load": "recitative.kinds",
    "load_classifier": "recitative.classification.classifier",
    "torchaudio_bundle": "recitative.asr.network",
}


def __getattr__(name: str) -> Any:
    """On first use, so that importing the package costs next to nothing. For type checkers: ``__init__.pyi``."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'recitative' has no attribute '{name}'")
