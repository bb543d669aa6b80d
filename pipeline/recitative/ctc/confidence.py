"""How sure a word of the best hypothesis is: what the rest of the beam and the audio say of it.

The posterior of a word is the part of the beam's hypotheses, by their masses, that have the same word at the same time
(Wessel et al. 2001, on an n-best list). It leans to the sure side, since hypotheses outside the beam have no vote: see
``score.calibration`` for what makes it honest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recitative.ctc.beam import Hypothesis, SpelledWord
from recitative.ctc.greedy import TokenRun

FEATURES = ("logit_posterior", "ln_least_token", "ln_mean_token", "ln_labels")

_TOLERANCE = 2  # frames by which the onsets of one word may differ between hypotheses
_LARGEST_ODDS = 12.0  # nats: a posterior of 1 is no surer than this


@dataclass(frozen=True)
class WordEvidence:
    """posterior: 0..1; least, mean: its least sure token's probability, geometric mean of all; labels: count."""

    posterior: float
    least: float
    mean: float
    labels: int

    def features(self) -> tuple[float, ...]:
        """What a calibrator weighs, in the order of FEATURES."""
        share = min(max(self.posterior, 1e-9), 1.0 - 1e-9)
        odds = math.log(share / (1.0 - share))
        return (
            max(-_LARGEST_ODDS, min(_LARGEST_ODDS, odds)),
            math.log(max(self.least, 1e-6)),
            math.log(max(self.mean, 1e-6)),
            math.log(self.labels),
        )


def evidence_of(hypotheses: Sequence[Hypothesis], runs: Sequence[TokenRun]) -> tuple[WordEvidence, ...]:
    """For every word of the first hypothesis; ``runs`` are its labels on their frames."""
    return tuple(_evidence(word, hypotheses, runs[word.begin : word.end]) for word in hypotheses[0].words)


def _evidence(word: SpelledWord, hypotheses: Sequence[Hypothesis], runs: Sequence[TokenRun]) -> WordEvidence:
    posterior = sum(h.posterior for h in hypotheses if any(_is_same(word, other) for other in h.words))
    confidences = [max(run.confidence, 1e-9) for run in runs]
    mean = math.exp(sum(map(math.log, confidences)) / len(confidences))
    return WordEvidence(min(posterior, 1.0), min(confidences), mean, len(confidences))


def _is_same(a: SpelledWord, b: SpelledWord) -> bool:
    overlap = a.first_frame <= b.last_frame + _TOLERANCE and b.first_frame <= a.last_frame + _TOLERANCE
    return a.word == b.word and overlap
