"""The kind 'forecaster', an anomaly model: it predicts the density of each feature frame of normal sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recitative.anomaly.settings import ForecasterSettings, Threshold
from recitative.config import RecordingsData
from recitative.model.file import ModelMetadata
from recitative.model.kind import LENGTHS, Endpoint, Entries, Extra, ModelKind, Signature

if TYPE_CHECKING:
    from recitative.anomaly.detector import AnomalyDetector
    from recitative.audio.files import AudioInput


def describe(metadata: ModelMetadata) -> dict[str, str]:
    features, learned = metadata.settings.features, metadata.extras["threshold"]
    ahead_ms = metadata.settings.model.horizon * features.frame_shift_ms
    channels = f"{features.num_mel_bins} {features.kind} channels"
    return {
        "kind": "forecaster",
        "input": f"{features.sample_rate} Hz, {channels}, forecast {ahead_ms:g} ms ahead",
        "unusual": f"above {learned.limit:.3f}, usually {learned.usual:.3f}" if learned else "not learned",
    }


def _graphs(settings: ForecasterSettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
    features: Entries = {"features": ("float32", (None, None, settings.features.dim)), **LENGTHS}
    return {"": Signature(features, {"surprise": ("float32", (None, None, 1))})}


def _about(detector: AnomalyDetector) -> dict[str, Any]:
    rate, threshold = detector.sample_rate, detector.required_threshold
    about = {"sample_rate": rate, "latency_ms": 1000 * detector.lookahead / rate, "threshold": threshold.limit}
    return {"streams": True} | about


def _answer(detector: AnomalyDetector, audio: AudioInput, _check: Callable[[], None]) -> dict[str, Any]:
    from recitative.anomaly.detector import Summary

    summary = Summary()
    for block in detector.detect_file(audio, threshold=detector.required_threshold):
        summary.add(block)
    return summary.to_dict(detector.required_threshold)


FORECASTER = ModelKind(
    name="forecaster",
    title="forecaster",
    settings=ForecasterSettings,
    data=RecordingsData,
    build="recitative.anomaly.network:new_forecaster",
    task="recitative.anomaly.task:prepare",
    runner="recitative.anomaly.detector:AnomalyDetector",
    graphs=_graphs,
    describe=describe,
    extras={
        "threshold": Extra(
            "threshold.json", lambda threshold: threshold.to_json() + "\n", Threshold.parse, optional=True
        )
    },
    writer="recitative.anomaly.export:write_forecaster",
    endpoint=Endpoint("/v1/audio/anomalies", _about, _answer, stream=lambda detector, *, rules: detector.stream()),
)
