"""A classifier asked for keywords: its labels, looked for in a stream.

    spotting, spotter = spot_labels(labeller, parse_keywords("yes, stop:0.9"))    # labels of the classifier

The classifier must hear the recent past alone (``model.pooling=recent``). A stream is heard as one, from its beginning
to its end: nothing is cut at pauses, and no voice activity detector is asked. A hit is known ``HOLD_S`` after its peak.
NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recitative.asr.decoders import Spoken
from recitative.asr.transcriber import DecodedNetwork
from recitative.audio.vad import UNCUT
from recitative.classification.labeller import Labeller
from recitative.decoding.hotwords import Phrase
from recitative.errors import DataError, Problem, UsageError
from recitative.keywords.detections import DetectionCandidate, DetectionDecoder, DetectionState
from recitative.keywords.posterior_spotter import PosteriorRules, PosteriorSpotter, PosteriorState
from recitative.keywords.spotter import thresholds_of
from recitative.stage import Array

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
