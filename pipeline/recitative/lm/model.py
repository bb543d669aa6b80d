"""What a decoder asks of a language model, n-gram or recurrent."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

UNKNOWN = "<unk>"  # stands for every word that a model does not know
BEGIN = "<s>"  # what a sentence begins after; never predicted
END = "</s>"

State = Hashable
"""What a model remembers of the words so far; equal states have equal futures."""


class LanguageModel(Protocol):
    """P(words) as a state machine; natural logarithms."""

    def start(self) -> State:
        """The state after ``<s>``."""
        ...

    def score(self, state: State, word: str) -> tuple[float, State]:
        """ln P(word | state), and the next state. The marks above are no words: they count as unknown."""
        ...

    def finish(self, state: State) -> float:
        """ln P(</s> | state)."""
        ...

    def knows(self, word: str) -> bool:
        """False: ``score`` gives the probability of ``<unk>``, or a floor that the model states."""
        ...
