"""The kind 'forecaster', an anomaly model, with its settings and its threshold. No torch.

The network predicts the density of each feature frame of normal sound from the frames before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from recitative.config import (
    AugmentSettings,
    BestEpochTrainSettings,
    FeatureSettings,
    ForwardRecurrentSettings,
    RecordingsData,
    Section,
)
from recitative.model.file import ModelMetadata
from recitative.model.kind import LENGTHS, Endpoint, Entries, Extra, ModelKind, Signature
from recitative.reading import checked, parsed_json
from recitative.stage import Array

if TYPE_CHECKING:
    from recitative.anomaly.detector import AnomalyDetector
    from recitative.audio.files import AudioInput

LEAST_WINDOW = 4  # frames: an autoregression fits fewer frames too well


class AnomalyCoreSettings(ForwardRecurrentSettings):
    """The recurrent core, forward only, with another default."""

    hidden: int = Field(192, ge=1)


class AnomalyNetworkSettings(Section):
    cmvn: Literal["global", "running"] = "global"  # running: running mean normalization after the global one
    horizon: int = Field(1, ge=1)  # frames from the last known one to the predicted one
    width: int = Field(0, ge=0)  # width of a linear projection before the core; 0 = none
    recurrent: AnomalyCoreSettings = AnomalyCoreSettings()
    dropout: float = Field(0.0, ge=0, lt=1)  # of the core's output
    components: int = Field(4, ge=1)  # Gaussians in the mixture density of a frame
    least_deviation: float = Field(0.1, gt=0)  # lower bound for a channel, in standard deviations of the corpus


class WatchSettings(Section):
    """Anomaly score; its threshold is set on the dev recordings at the end of training."""

    score: Literal["ratio", "surprise"] = "ratio"  # see ``anomaly.detector``
    window_s: float = Field(2.0, gt=0)  # length of the scored window
    false_alarms: float = Field(0.01, ge=0, lt=1)  # share of normal windows allowed above the threshold


class AnomalySettings(Section):
    """Settings of an anomaly model."""

    kind: Literal["forecaster"] = "forecaster"  # identifies the kind of model
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    segment_s: float = Field(10.0, gt=0)  # longer recordings are split into segments of this length for training
    model: AnomalyNetworkSettings = AnomalyNetworkSettings()
    watch: WatchSettings = WatchSettings()
    train: BestEpochTrainSettings = BestEpochTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> AnomalySettings:
        if self.features.kind != "fbank" and self.augment.vtlp != (1.0, 1.0):
            raise ValueError(f"augment.vtlp={list(self.augment.vtlp)} needs features.kind=fbank")
        if self.features.delta_order:
            raise ValueError(
                f"features.delta_order={self.features.delta_order} must be 0, because deltas contain future frames"
            )
        if self.watch_frames < LEAST_WINDOW:
            least_s = LEAST_WINDOW * self.features.frame_shift_ms / 1000
            found = f"watch.window_s={self.watch.window_s:g}"
            raise ValueError(f"{found} must be at least {least_s:g}, {LEAST_WINDOW} frames")
        return self

    @property
    def watch_frames(self) -> int:
        """Frames of a scored window."""
        return round(self.watch.window_s * 1000 / self.features.frame_shift_ms)

    @property
    def watch_samples(self) -> int:
        """Samples of the shortest recording that can be scored."""
        return self.features.window_samples + (self.watch_frames - 1) * self.features.hop_samples


@dataclass(frozen=True)
class Threshold:
    """A window with an anomaly score above ``limit``, nats per dimension, is anomalous.

    usual:        the median score of the normal windows that it was set on
    false_alarms: the share of these ``windows`` that may be above it
    """

    limit: float
    usual: float
    false_alarms: float
    windows: int

    @classmethod
    def learn(cls, rows: Sequence[Array], false_alarms: float) -> Threshold:
        """From the scores (T,) of normal recordings, of which at least one has a window.

        The limit is the lowest value with at most this share above it: 0 gives the highest score.
        """
        values = np.sort(np.concatenate(rows))
        limit = values[-1 - int(false_alarms * len(values))]
        return cls(float(limit), float(np.median(values)), false_alarms, len(values))

    def __str__(self) -> str:
        """One line for the user."""
        return (
            f"unusual above {self.limit:.3f}, usually {self.usual:.3f} nats per dimension "
            f"({self.windows} windows, {self.false_alarms:.2%} of them may be above)"
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str, where: str) -> Threshold:
        """The inverse of ``to_json``. Raises DataError for any other text."""
        wanted = "what 'recitative anomaly threshold' wrote"
        remedy = "learn it again with 'recitative anomaly threshold'"
        return checked(cls, parsed_json(text, where, wanted), where, wanted, remedy)


def describe(metadata: ModelMetadata) -> dict[str, str]:
    features, learned = metadata.settings.features, metadata.extras["threshold"]
    ahead_ms = metadata.settings.model.horizon * features.frame_shift_ms
    channels = f"{features.num_mel_bins} {features.kind} channels"
    return {
        "kind": "forecaster",
        "input": f"{features.sample_rate} Hz, {channels}, forecast {ahead_ms:g} ms ahead",
        "unusual": f"above {learned.limit:.3f}, usually {learned.usual:.3f}" if learned else "not learned",
    }


def _graphs(settings: AnomalySettings, _extras: Mapping[str, Any]) -> Mapping[str, Signature]:
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
    settings=AnomalySettings,
    data=RecordingsData,
    build="recitative.anomaly.network:new_anomaly_model",
    task="recitative.anomaly.task:prepare",
    runner="recitative.anomaly.detector:AnomalyDetector",
    graphs=_graphs,
    describe=describe,
    extras={
        "threshold": Extra(
            "threshold.json", lambda threshold: threshold.to_json() + "\n", Threshold.parse, optional=True
        )
    },
    writer="recitative.anomaly.network:write_forecaster",
    endpoint=Endpoint("/v1/audio/anomalies", _about, _answer, stream=lambda detector, *, rules: detector.stream()),
)
