"""CTC prefix search by definition: slow, obvious, every score computed from the whole hypothesis.

And slower still: every labeling that some path collapses to, with its probability summed over all its paths.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

Labels = tuple[int, ...]
Steps = tuple[tuple[int, str], ...]
"""A hypothesis: each label with the word that ends with it, or, without a lexicon, just before it; '' = none."""


def all_labelings(log_probs: np.ndarray) -> dict[Labels, float]:
    """Every labeling with ln of the sum over all its paths."""
    frames, tokens = log_probs.shape
    totals: dict[Labels, list[float]] = {}
    for path in itertools.product(range(tokens), repeat=frames):
        labels = tuple(c for c, _ in itertools.groupby(path) if c)
        totals.setdefault(labels, []).append(sum(log_probs[t, c] for t, c in enumerate(path)))
    return {labels: float(np.logaddexp.reduce(values)) for labels, values in totals.items()}


@dataclass(eq=False)
class PrefixSearch:
    """Hannun et al. 2014, algorithm 1, with the options of ``BeamSearch``."""

    tokens: Any
    lexicon: Any = None
    lm: Any = None
    hot_words: Any = None
    lm_weight: float = 0.0
    word_bonus: float = 0.0
    unknown_score: float = -10.0
    beam: int = 10**6
    token_beam: float = math.inf
    score_beam: float = 700.0

    def __post_init__(self) -> None:
        self.bias = self.hot_words.automaton if self.hot_words else None
        entries = self.lexicon.entries if self.lexicon else ()
        self.ways = [(way, word) for word in entries for way in self.lexicon.pronunciations(word, self.tokens)]
        self.extra, self.extended = cache(self._extra), cache(self._extended)

    def run(self, log_probs: np.ndarray) -> dict[Steps, tuple[float, float, tuple[int, ...]]]:
        """The hypotheses, best first: masses of the paths that end in a blank and in a label, and frames of labels."""
        found: dict[Steps, tuple[float, float, tuple[int, ...]]] = {(): (1.0, 0.0, ())}
        gain = max(self.word_bonus, 0.0) + (self.bias.largest_gain if self.bias else 0.0)
        for t, frame in enumerate(np.asarray(log_probs, np.float64)):
            near = [k for k in np.argsort(-frame, kind="stable") if k and frame[k] >= frame.max() - self.token_beam]
            probs = {int(k): math.exp(frame[k]) for k in near if math.exp(frame[k])}
            blank, grown = math.exp(frame[0]), {}
            if not probs:
                found = {steps: ((b + c) * blank, 0.0, frames) for steps, (b, c, frames) in found.items()}
                continue
            best = sum(next(iter(found.values()))[:2]) * max(blank, *probs.values())
            floor = best * math.exp(-self.score_beam)
            for steps, (b, c, frames) in found.items():
                stay = [(b + c) * blank, c * probs.get(steps[-1][0], 0.0) if steps else 0.0]
                if steps in grown:
                    grown[steps] = [*np.add(grown[steps][:2], stay), frames]
                elif sum(stay) >= floor:
                    grown[steps] = [*stay, frames]
                for label, p in probs.items():
                    mass = (b if steps and steps[-1][0] == label else b + c) * p
                    for longer in self.extended(steps, label) if mass >= floor * math.exp(-gain) else ():
                        reached = mass * math.exp(self.extra(longer) - self.extra(steps))
                        if reached >= floor and reached:
                            grown.setdefault(longer, [0.0, 0.0, (*frames, t)])[1] += reached
            if not grown:  # everything is forbidden: the best waits
                steps, (b, c, frames) = next(iter(found.items()))
                grown[steps] = [(b + c) * max(blank, 1e-30), 0.0, frames]
            ranked = sorted(grown.items(), key=lambda item: -sum(item[1][:2]))[: int(1.5 * self.beam)]
            least = sum(ranked[0][1][:2]) * math.exp(-self.score_beam)
            found = self._best({steps: tuple(value) for steps, value in ranked if sum(value[:2]) >= least})
        return found

    def _best(self, ranked: dict[Steps, Any]) -> dict[Steps, Any]:
        """The ``beam`` best of those ranked by mass; each counts e**-1.5 less for each better one with its future."""
        better, counted = Counter(), []
        for steps, value in ranked.items() if len(ranked) > self.beam else ():
            future = self._future(steps)
            counted.append(sum(value[:2]) * math.exp(-1.5 * better[future]))
            better[future] += 1
        if not counted:
            return ranked
        least = sorted(counted)[-self.beam]
        best = [steps for steps, mass in zip(ranked, counted, strict=True) if mass >= least][: self.beam]
        return {steps: ranked[steps] for steps in best}

    def _future(self, steps: Steps) -> Any:
        """The same for hypotheses that any further labels change in the same way."""
        within = self._open_labels(steps) if self.lexicon else self.open_text(steps)
        waits = bool(self.lexicon and self.tokens.space is not None and steps and steps[-1][1])
        return within, waits, steps[-1:] and steps[-1][0], *self._scored(steps)[1:]

    def finish(self, steps: Steps) -> float:
        """``extra`` at the end of the recording; minus infinity within a word of the lexicon."""
        return self._extra((*steps, (0, self.open_text(steps))), last=True)

    def words(self, steps: Steps) -> list[str]:
        """Those that have ended."""
        return [word for _, word in steps if word]

    def open_text(self, steps: Steps) -> str:
        """Without a lexicon, the word that has not ended."""
        if self.lexicon:
            return ""
        return self.tokens.decode([label for label, _ in steps]).rpartition(" ")[2]

    def _open_labels(self, steps: Steps) -> Labels:
        """With a lexicon, those after the last word or space."""
        rest = itertools.takewhile(lambda step: not step[1] and step[0] != self.tokens.space, reversed(steps))
        return tuple(label for label, _ in rest)[::-1]

    def _extended(self, steps: Steps, label: int) -> list[Steps]:
        """The hypotheses that are a label longer."""
        space = self.tokens.space
        if not self.lexicon:
            begins = self.tokens.symbols[label].startswith(" ")
            return [(*steps, (label, self.open_text(steps) if begins else ""))]
        before, after_word = self._open_labels(steps), bool(steps and steps[-1][1])
        if label == space:
            begins = not before and not (steps and steps[-1][0] == space)
            return [(*steps, (space, ""))] if after_word or begins else []
        if after_word and space is not None:
            return []
        labels = (*before, label)
        ended = [word for way, word in self.ways if tuple(way) == labels]
        goes_on = any(len(way) > len(labels) and tuple(way[: len(labels)]) == labels for way, _ in self.ways)
        return [(*steps, (label, word)) for word in [*ended, *[""] * goes_on]]

    def _extra(self, steps: Steps, last: bool = False) -> float:
        total, state, bias = self._scored(steps)
        if last:
            within = self._open_labels(steps[:-1]) if self.lexicon else ()
            total += self.lm_weight * self.lm.finish(state) if self.lm else 0.0
            return -math.inf if within else total + (self.bias.finish(bias) if self.bias else 0.0)
        return total + self._look_ahead(self._open_labels(steps)) if self.lexicon and self.lm_weight else total

    def _scored(self, steps: Steps) -> tuple[float, Any, int]:
        """The scores of the words that have ended; the states of language model and hot words."""
        total, state = 0.0, self.lm.start() if self.lm else None
        bias = self.bias.start if self.bias else 0
        for label, word in steps:
            symbols = [label] if label not in (0, self.tokens.space) else []
            if word:
                symbols.insert(len(symbols) if self.lexicon else 0, -1)
                gain, state = self._word_score(state, word)
                total += gain + self.word_bonus
            for symbol in symbols if self.bias else ():
                gain, bias = self.bias.step(bias, symbol)
                total += gain
        return total, state, bias

    def _word_score(self, state: Any, word: str) -> tuple[float, Any]:
        if not self.lm:
            return 0.0, state
        score, state = self.lm.score(state, word)
        return self.lm_weight * (score if self.lm.knows(word) else self.unknown_score), state

    @cache  # noqa: B019
    def _look_ahead(self, labels: Labels) -> float:
        """The best score of a word that begins with these labels; 0 before the first and after the last."""
        if not labels or not self.lm:
            return 0.0
        words = [word for way, word in self.ways if tuple(way[: len(labels)]) == labels]
        scores = [self._word_score(self.lm.start(), word)[0] for word in words]
        return max(score if score > -math.inf else 0.0 for score in scores)
