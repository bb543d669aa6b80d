"""Writing text with a recurrent language model: prompts go on, word by word or character by character. NumPy only.

Every line has its own random numbers, from (seed, line): it does not depend on how many are written beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recitative.lm.sampling import Sampling, categorical, distribution
from recitative.lm.scores import History, RecurrentLanguageModel
from recitative.stage import Mask
from recitative.text.vocabulary import END, Vocabulary

LONGEST = 40  # characters of a word; where it is full, it ends


def continue_text(
    model: RecurrentLanguageModel, prompt: str, sampling: Sampling, *, words: int, count: int, seed: int
) -> list[str]:
    """``count`` lines that begin with the prompt, each at most ``words`` words longer.

    A model of characters goes on with the prompt's last word unless a blank ends it; what it adds to that word is not
    counted. The unknown symbol is never written, and no line is empty.
    """
    start = _after(model, prompt)
    lines = [_Line(model.vocabulary, prompt, start, words, np.random.default_rng([seed, row])) for row in range(count)]
    while writing := [line for line in lines if not line.ended]:
        History.ask(line.history for line in writing)
        scores = np.stack([line.history.log_probs for line in writing])
        probabilities = distribution(scores, np.stack([line.legal() for line in writing]), sampling)
        for line, row in zip(writing, probabilities, strict=True):
            line.draw(row)
    return [line.text for line in lines]


def _after(model: RecurrentLanguageModel, prompt: str) -> History:
    """What the model knows behind a prompt."""
    vocabulary, history = model.vocabulary, model.start()
    tokens = vocabulary.encode(prompt)
    if vocabulary.unit == "character" and tokens and prompt[-1].isspace():
        tokens.append(vocabulary.space)
    for token in tokens:
        history = history.then(token)
    return history


class _Line:
    """One line in the making. left: words that may still be begun; word: letters of the last one, if it may go on."""

    def __init__(
        self, vocabulary: Vocabulary, prompt: str, history: History, words: int, rng: np.random.Generator
    ) -> None:
        self.history = history
        self.ended = False
        self._vocabulary = vocabulary
        self._rng = rng
        self._spells = vocabulary.unit == "character"
        self._prompt = prompt.strip()
        self._symbols: list[str] = [" "] if self._prompt and (not self._spells or prompt[-1].isspace()) else []
        self._letters = len(self._prompt.split()[-1]) if self._prompt and not self._symbols else 0
        self._left = words - (self._spells and not self._letters)

    @property
    def text(self) -> str:
        """The prompt, and what was written behind it."""
        return (self._prompt + "".join(self._symbols)).rstrip()

    def legal(self) -> Mask:
        """(V,): which tokens may follow; at least one."""
        vocabulary = self._vocabulary
        legal = np.full(len(vocabulary), self._letters < LONGEST)
        legal[vocabulary.space] = self._letters > 0
        legal[END] = self._letters > 0 if self._spells else bool(self.text)
        legal[vocabulary.unknown] = False  # of words, the space as well
        if not legal.any():  # a vocabulary without a word
            legal[END] = True
        return legal

    def draw(self, probabilities: npt.NDArray[np.float64]) -> None:
        """One more token, by its probabilities (V,)."""
        token = int(categorical(probabilities, np.array(self._rng.random())))
        begins = not self._spells or token == self._vocabulary.space  # a word
        self.ended = token == END or (begins and not self._left)
        if self.ended:
            return
        self._left -= begins
        self._letters = 0 if begins else self._letters + 1
        self._symbols.append(self._vocabulary.symbol(token) + ("" if self._spells else " "))
        self.history = self.history.then(token)
