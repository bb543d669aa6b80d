"""Keyword spotting with a classifier: keywords are labels, detected where their smoothed posteriors peak. NumPy only.

    spotting, spotter = spot_labels(labeller, parse_keywords("yes, stop:0.9"))    # labels of the classifier
    smoothed(t, j) = mean of p(i, j) over the last ``smooth_frames`` frames i <= t

is the confidence of keyword j at frame t, as in Chen et al. 2014, "Small-footprint keyword spotting using deep neural
networks", section 2.3. There the labels of a keyword's parts are multiplied; here a keyword is one label of the
classifier. Labels that are no keywords, such as those of silence and of other words, are the filler.

The classifier must depend on the recent past only (``model.pooling=recent``). A stream is one segment from beginning to
end: it is not cut at pauses, and no voice activity detector is used. A detection is reported ``HOLD_S`` after its peak.

A candidate covers the frames of its smoothing window and those before them that the first posterior depends on. No
frame belongs to two detections of one keyword; of overlapping candidates the best one is kept, as
``keywords.detections`` does. While the confidence stays above the threshold, or returns to it within
``refractory_frames``, it is one detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.asr.decoders import Spoken
from recitative.asr.transcriber import DecodedNetwork
from recitative.audio.vad import UNCUT
from recitative.classification.labeller import Labeller
from recitative.decoding.hotwords import Phrase
from recitative.errors import DataError, Problem, UsageError
from recitative.keywords.detections import (
    DetectionCandidate,
    DetectionDecoder,
    DetectionRules,
    DetectionState,
    Track,
    finish,
    follow,
    new_tracks,
)
from recitative.keywords.spotter import thresholds_of
from recitative.stage import Array

LOWEST = 1e-9  # a confidence that isn't 0


@dataclass(frozen=True)
class PosteriorRules:
    """In frames, each at least 1. heard_frames: input of one posterior; the last two: see ``keywords.detections``."""

    smooth_frames: int
    heard_frames: int
    hold_frames: int
    refractory_frames: int


@dataclass(frozen=True)
class PosteriorState:
    """Of a stream after ``frame`` frames. recent: (smooth_frames - 1, K) its last posteriors; tracks: what waits."""

    frame: int
    recent: Array
    tracks: tuple[Track, ...]


class PosteriorSpotter:
    """Hits as candidates, whose ``keyword`` is its number and whose frames are those of the posteriors."""

    def __init__(self, thresholds: Sequence[float], rules: PosteriorRules) -> None:
        """thresholds: the confidence of a hit, for each of K keywords."""
        self.rules = DetectionRules(rules.hold_frames, refractory_frames=rules.refractory_frames)
        self._thresholds = np.array(thresholds)
        self._smooth_frames = rules.smooth_frames
        self._reach = rules.smooth_frames + rules.heard_frames - 1

    def start(self) -> PosteriorState:
        count = len(self._thresholds)
        return PosteriorState(0, np.zeros((self._smooth_frames - 1, count)), new_tracks(count))

    def step(self, posteriors: Array, state: PosteriorState) -> tuple[list[DetectionCandidate], PosteriorState]:
        """The next posteriors (T, K) of the keywords. Returns the hits that are certain now."""
        candidates, recent = self.candidates(posteriors, state)
        frame = state.frame + len(posteriors)
        hits, tracks = follow(state.tracks, candidates, frame, self.rules)
        return hits, PosteriorState(frame, recent, tracks)

    def finish(self, state: PosteriorState) -> list[DetectionCandidate]:
        """The stream ends here."""
        return finish(state.tracks, [], state.frame, self.rules)

    def candidates(self, posteriors: Array, state: PosteriorState) -> tuple[list[DetectionCandidate], Array]:
        """Whatever reaches its threshold on the next frames (T, K); and the last posteriors, for the next state."""
        history = np.concatenate([state.recent, posteriors])
        frames = np.arange(len(posteriors)) + state.frame
        counts = np.minimum(frames + 1, self._smooth_frames)
        confidences = _sums(history, self._smooth_frames) / counts[:, None]
        found = [
            self._candidate(state.frame + t, keyword, float(confidences[t, keyword]))
            for t, keyword in np.argwhere(confidences >= self._thresholds).tolist()
        ]
        return found, history[len(history) - len(state.recent) :]

    def _candidate(self, frame: int, keyword: int, confidence: float) -> DetectionCandidate:
        end = frame + 1
        return DetectionCandidate(
            keyword, max(0, end - self._reach), end, end, -float(np.log(max(confidence, LOWEST))), 1
        )


def _sums(frames: Array, size: int) -> Array:
    """Of each ``size`` frames on end, added in the order of time, so that no cutting changes a bit: (T, K)."""
    count = len(frames) - size + 1
    total = np.zeros((count, frames.shape[1]))
    for offset in range(size):
        total += frames[offset : offset + count]
    return total


SMOOTH_S = 0.2  # posteriors are averaged over
HOLD_S = 0.3  # a candidate waits so long for a better one
REARM_S = 0.15  # a keyword is said again only after it was not heard for so long


class LabelSpotter(DetectionDecoder[PosteriorState]):
    """A decoder (``asr.decoders``) that writes the keywords it hears, in the order in which they are certain."""

    def __init__(
        self, phrases: Sequence[str], columns: Sequence[int], thresholds: Sequence[float], frame_s: float, heard: int
    ) -> None:
        """columns: of the keywords among the labels; thresholds: above 0; heard: frames that a posterior tells of."""
        super().__init__(phrases, frame_s)
        smooth, hold, rearm = (max(1, round(seconds / frame_s)) for seconds in (SMOOTH_S, HOLD_S, REARM_S))
        rules = PosteriorRules(smooth, heard, hold, rearm)
        self._search = PosteriorSpotter(thresholds, rules)
        self.rules = self._search.rules
        self._columns = list(columns)

    def start(self) -> DetectionState[PosteriorState]:
        return DetectionState(self._search.start())

    def step(self, log_probs: Array, state: DetectionState[PosteriorState]) -> DetectionState[PosteriorState]:
        hits, search = self._search.step(self._posteriors(log_probs), state.search)
        return DetectionState(search, self.words(state, hits))

    def num_frames(self, state: DetectionState[PosteriorState]) -> int:
        return state.search.frame

    def finish(self, state: DetectionState[PosteriorState]) -> Spoken:
        return Spoken((), self.words(state, self._search.finish(state.search)))

    def candidates(self, log_probs: Array) -> list[DetectionCandidate]:
        """Of a whole recording (T, K): what the hits are picked from."""
        return self._search.candidates(self._posteriors(log_probs), self._search.start())[0]

    def _posteriors(self, log_probs: Array) -> npt.NDArray[np.float64]:
        """(T, K) -> (T, keywords)."""
        return np.exp(log_probs[:, self._columns].astype(np.float64))


class LabelSpotting(DecodedNetwork):
    """The classifier's network with the decoder of its keywords."""

    def __init__(self, labeller: Labeller, decoder: LabelSpotter) -> None:
        super().__init__(labeller.network, labeller.settings.features)
        self.settings = labeller.settings
        self.decoder = decoder
        self.segments = UNCUT


def spot_labels(
    labeller: Labeller, phrases: Sequence[Phrase], thresholds: Mapping[str, float] | None = None
) -> tuple[LabelSpotting, LabelSpotter]:
    """thresholds: of phrases that have none of their own, ``spotter.THRESHOLD`` for those that it lacks.

    Raises UsageError for a classifier of whole recordings and for a phrase with a pronunciation, one DataError for all
    phrases that are no label.
    """
    _require_stream(labeller)
    columns = _columns(phrases, labeller.labels)
    bars = thresholds_of(phrases, thresholds or {})
    heard = labeller.settings.model.pooling_frames
    spotter = LabelSpotter([phrase.text for phrase in phrases], columns, bars, labeller.frame_s, heard)
    return LabelSpotting(labeller, spotter), spotter


def _require_stream(labeller: Labeller) -> None:
    model = labeller.settings.model
    if model.pooling != "recent":
        raise UsageError(
            f"this classifier names whole recordings (model.pooling={model.pooling}): in a stream it would hear all "
            "that came before; train one with model.pooling=recent"
        )
    if labeller.lookahead is None:
        raise UsageError(
            "this classifier needs the whole recording; keywords need a 'forward' or 'latency_controlled' core and "
            "model.cmvn 'global' or 'running'"
        )


def _columns(phrases: Sequence[Phrase], labels: Sequence[str]) -> list[int]:
    for phrase in phrases:
        if phrase.pronunciation:
            raise UsageError(
                f"keyword '{phrase.text}': a classifier hears whole labels and takes no pronunciation; leave it out"
            )
    unknown = [phrase.text for phrase in phrases if phrase.text not in labels]
    if unknown:
        allowed = f"one of its labels: {', '.join(labels)}"
        problems = [Problem(f"keyword '{text}'", "is no label of the classifier", allowed, "") for text in unknown]
        raise DataError.collect(problems)
    return [labels.index(phrase.text) for phrase in phrases]
