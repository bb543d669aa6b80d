"""One number for each recording: how strange it is, to a forecaster and to scores that know no past.

The plain scores are there to be beaten. Both describe the recordings that the forecaster was trained on:

    gaussian   mean over the frames of -ln N(x; mean, covariance) / C, one Gaussian for all frames in any order
    mean       the squared distance of a recording's mean frame from the mean of theirs, in deviations of theirs
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from recitative.anomaly.data import cut
from recitative.anomaly.network import Forecaster
from recitative.anomaly.score import Score, Strangeness
from recitative.data.tables import Utterance
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.nn.ragged import pad_features
from recitative.stage import Array, Padded

Scores = dict[str, list[float]]

JUDGED_BY: tuple[Score, ...] = ("ratio", "surprise")
LEAST_VARIANCE = 1e-2  # added to each channel's, in nats squared: some channels of some recordings never change


def strangeness_of(forecaster: Forecaster, utterances: Sequence[Utterance], where: Path) -> Scores:
    """The mean of all windows of each recording: 'ratio' and 'surprise' (``anomaly.score``), and 'nats', the mean
    surprise of all frames. A recording shorter than a window is one.

    Raises DataError for all recordings of a wrong sample rate or without two frames.
    """
    cut(utterances, forecaster.settings, where)
    extractor = FeatureExtractor(forecaster.settings.features)
    scores: Scores = {"ratio": [], "surprise": [], "nats": []}
    for utterance in utterances:
        features = extractor.compute(read_utterance(utterance))
        surprise = _surprise(forecaster, features)
        for score in JUDGED_BY:
            scores[score].append(_mean_strangeness(surprise, features, forecaster.settings.watch_frames, score))
        scores["nats"].append(float(surprise.mean()))
    return scores


def _mean_strangeness(surprise: Array, features: Array, window: int, score: Score) -> float:
    """(T, 1) and (T, C) -> the mean over all windows of a recording, or over the one that it is."""
    both = np.concatenate([surprise, features], axis=1)
    stage = Strangeness(features.shape[1], min(window, len(both)), score)
    y, _ = stage.step(Padded(both[None], np.array([len(both)])), stage.initial_state(1), last=True)
    return float(y.data.mean())


@torch.no_grad()
def _surprise(forecaster: Forecaster, features: Array) -> Array:
    """(T, C) -> (T, 1)."""
    x = pad_features([features], features.shape[1])
    array: Array = forecaster.surprise(x).data[0].numpy()
    return array


class PlainScores:
    """Both plain scores, fitted to usual recordings; see the module."""

    def __init__(self, frames: Sequence[Array]) -> None:
        """frames: (T, C) of each recording, at least two of them."""
        every = np.concatenate(frames).astype(np.float64)
        self._mean = every.mean(axis=0)
        covariance = np.cov(every.T) + LEAST_VARIANCE * np.eye(every.shape[1])
        self._precision = np.linalg.inv(covariance)
        self._volume = float(np.linalg.slogdet(covariance)[1])
        means = np.array([row.mean(axis=0, dtype=np.float64) for row in frames])
        self._center, self._spread = means.mean(axis=0), np.sqrt(means.var(axis=0) + LEAST_VARIANCE)

    def gaussian(self, frames: Array) -> float:
        """(T, C) -> nats per dimension."""
        away = frames - self._mean
        squares = float(np.einsum("tc,cd,td->t", away, self._precision, away).mean())
        channels = frames.shape[1]
        return float(0.5 * (squares + self._volume + channels * math.log(2 * math.pi)) / channels)

    def mean(self, frames: Array) -> float:
        """(T, C) -> squared deviations per dimension."""
        away = (frames.mean(axis=0, dtype=np.float64) - self._center) / self._spread
        return float(np.square(away).mean())

    def of(self, frames: Sequence[Array]) -> Scores:
        return {"gaussian": [self.gaussian(row) for row in frames], "mean": [self.mean(row) for row in frames]}


def frames_of(utterances: Sequence[Utterance], forecaster: Forecaster, where: Path) -> list[Array]:
    """The features (T, C) of each recording as a forecaster hears them. Raises DataError as ``strangeness_of``."""
    cut(utterances, forecaster.settings, where)
    extractor = FeatureExtractor(forecaster.settings.features)
    return [extractor.compute(read_utterance(utterance)) for utterance in utterances]
