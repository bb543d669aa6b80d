"""How well a language model foresees a text.

    perplexity = exp(- sum of ln P / symbols)

over all words and the ``</s>`` of every sentence. Once with unknown words, at the probability that the model gives to
``<unk>``, and once without: they stay in the histories, but neither their probability nor they themselves count
(KenLM's "including" and "excluding OOVs"; the second is SRILM's ppl).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from recitative.lm.model import LanguageModel


@dataclass(frozen=True)
class Perplexity:
    """Sums over a text; they add up over texts, as perplexities do not."""

    log_prob: float = 0.0  # sum of ln P of all words and ends
    unknown_log_prob: float = 0.0  # the part of it that is unknown words'
    words: int = 0  # unknown ones included
    unknown: int = 0
    sentences: int = 0

    @property
    def with_unknown(self) -> float:
        """Perplexity of everything; of no text at all: 1."""
        return _perplexity(self.log_prob, self.words + self.sentences)

    @property
    def without_unknown(self) -> float:
        """Perplexity of the known words and the ends."""
        return _perplexity(self.log_prob - self.unknown_log_prob, self.words - self.unknown + self.sentences)

    def __add__(self, other: Perplexity) -> Perplexity:
        return Perplexity(
            self.log_prob + other.log_prob,
            self.unknown_log_prob + other.unknown_log_prob,
            self.words + other.words,
            self.unknown + other.unknown,
            self.sentences + other.sentences,
        )

    def line(self) -> str:
        """``perplexity 18.32 (17.90 without unknown words), 593 words, 104 sentences, 3 unknown, ln P -2026.13``"""
        without = f" ({self.without_unknown:.2f} without unknown words)" if self.unknown else ""
        counts = f"{self.words} words, {self.sentences} sentences, {self.unknown} unknown"
        return f"perplexity {self.with_unknown:.2f}{without}, {counts}, ln P {self.log_prob:.2f}"


def measure(model: LanguageModel, lines: Iterable[str]) -> Perplexity:
    """Of sentences, one a line, words between blanks."""
    return sum((measure_sentence(model, line) for line in lines), Perplexity())


def measure_sentence(model: LanguageModel, line: str) -> Perplexity:
    words = line.split()
    log_probs = log_probs_of(model, words)
    unknown = [log_prob for word, log_prob in zip(words, log_probs, strict=False) if not model.knows(word)]
    return Perplexity(math.fsum(log_probs), math.fsum(unknown), len(words), len(unknown), 1)


def log_probs_of(model: LanguageModel, words: Iterable[str]) -> list[float]:
    """ln P of each word of a sentence and, last, of its end."""
    state = model.start()
    log_probs: list[float] = []
    for word in words:
        log_prob, state = model.score(state, word)
        log_probs.append(log_prob)
    return [*log_probs, model.finish(state)]


def _perplexity(log_prob: float, symbols: int) -> float:
    return math.exp(-log_prob / symbols) if symbols else 1.0
