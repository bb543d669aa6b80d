"""A forecaster of feature frames: normalisation, and how surprising each frame is after those before it.

Its folder:

weights.safetensors   every parameter and buffer by name, normalisation included
settings.yaml         the resolved settings of the run, features included
threshold.json        how surprising what is usual may be, once that has been learned (``models.threshold``)

Nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recitative.config import dump_settings
from recitative.features.cmvn import CmvnStats
from recitative.models.forecaster_settings import ForecasterNetworkSettings, ForecasterSettings
from recitative.models.front_end import normalisation
from recitative.models.threshold import Threshold
from recitative.models.weights import (
    SETTINGS,
    WEIGHTS,
    load_kind,
    load_weights,
    require_files,
    save_weights,
    writing_model,
)
from recitative.nn.chain import Chain
from recitative.nn.delay import Delay
from recitative.nn.density import MixtureDensity
from recitative.nn.framewise import Dropout, Project
from recitative.nn.normalise import Normalise
from recitative.nn.ragged import zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded, State

REMEDY = "make one with 'recitative forecaster train'"
THRESHOLD = "threshold.json"


class Forecast(nn.Module):
    """How surprising each normalised frame is, (N, T, C) -> (N, T, 1):

        -ln p(x[t] | x[0] ... x[t - horizon]) / C - unit        in nats per dimension

    with ``unit`` the mean of ln (1 / deviation) over the channels, so that it is the density of the features as they
    are, whatever they were divided by. Output t reads x[t] only to compare it with what was forecast.

    State: that of ``past``, a chain of the delay that hides the present, and the core.
    """

    stride = 1
    lookahead = 0
    unit: Tensor

    def __init__(self, channels: int, settings: ForecasterNetworkSettings) -> None:
        super().__init__()
        self.input_width, self.output_width = channels, 1
        past: dict[str, nn.Module] = {"delay": Delay(channels, settings.horizon)}
        if settings.width:
            past["project"] = Project(channels, settings.width)
        core = RecurrentStack(settings.width or channels, settings.recurrent)
        past["core"] = core
        if settings.dropout:
            past["dropout"] = Dropout(core.output_width, settings.dropout)
        self.past = Chain(past)
        self.density = MixtureDensity(core.output_width, channels, settings.components, settings.least_deviation)
        self.register_buffer("unit", torch.zeros(()))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        return self.past.initial_state(n)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        frames = Padded(zero_padding(x), x.lengths)  # a gradient at a padded frame would be 0 * NaN
        h, new_state = self.past.step(frames, state, last=last)
        nats = self.density(h.data).surprise(frames.data) - self.unit
        return Padded(nats[..., None], x.lengths), new_state


@dataclass(frozen=True)
class Forecaster:
    """A network, and how surprising what is usual may be."""

    settings: ForecasterSettings
    network: Chain
    threshold: Threshold | None = None

    def surprise(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Whole inputs (N, T, C) -> (N, T, 1) nats per dimension."""
        return self.network.step(features, self.network.initial_state(len(features.lengths)), last=True)[0]

    def normalise(self, stats: CmvnStats) -> None:
        """From now on by these statistics."""
        normalise, forecast = self.network.stages["normalise"], self.network.stages["forecast"]
        assert isinstance(normalise, Normalise)
        assert isinstance(forecast, Forecast)
        normalise.mean.copy_(torch.from_numpy(stats.mean))
        normalise.inverse_stddev.copy_(torch.from_numpy(stats.inverse_stddev))
        forecast.unit.copy_(normalise.inverse_stddev.log().mean())


def build_forecaster(settings: ForecasterNetworkSettings, feature_dim: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> surprise (N, T, 1)."""
    stages = normalisation(settings.cmvn, feature_dim)
    stages["forecast"] = Forecast(feature_dim, settings)
    return Chain(stages)


def new_forecaster(settings: ForecasterSettings) -> Forecaster:
    """A forecaster with random weights (from torch's generator)."""
    return Forecaster(settings, build_forecaster(settings.model, settings.features.dim))


def save_forecaster(forecaster: Forecaster, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    with writing_model(folder) as partial:
        save_weights(forecaster.network, partial)
        (partial / SETTINGS).write_text(dump_settings(forecaster.settings), encoding="utf-8")
        if forecaster.threshold:
            (partial / THRESHOLD).write_text(forecaster.threshold.to_json() + "\n", encoding="utf-8")


def load_forecaster(folder: Path) -> Forecaster:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole forecaster."""
    require_files(folder, "a forecaster's folder", REMEDY, (WEIGHTS, SETTINGS))
    settings = load_kind(ForecasterSettings, folder / SETTINGS, "is not a forecaster's", REMEDY)
    forecaster = Forecaster(settings, build_forecaster(settings.model, settings.features.dim), _threshold(folder))
    load_weights(forecaster.network, folder, REMEDY)
    return forecaster


def _threshold(folder: Path) -> Threshold | None:
    path = folder / THRESHOLD
    return Threshold.read(path) if path.exists() else None
