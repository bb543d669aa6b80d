"""Which words may come next, and how probable each is. NumPy only."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recitative.lm.scores import History, RecurrentLanguageModel
from recitative.text.vocabulary import END, END_SYMBOL

BEAM = 64  # spellings that are carried on together, at the least
LONGEST = 40  # characters of a word


@dataclass(frozen=True, order=True)
class NextWord:
    log_prob: float  # natural; what ``score`` says of the word and ``finish`` of '</s>'
    word: str  # or '</s>', where the sentence ends


def next_words(model: RecurrentLanguageModel, prompt: str, count: int) -> list[NextWord]:
    """The ``count`` likeliest words after the words of ``prompt``, the likeliest first; never the unknown symbol.

    With characters a beam over spellings finds them: none is missed as long as each beginning of it is among the
    ``BEAM`` likeliest of its length.
    """
    state = model.start()
    for word in prompt.split():
        _, state = model.score(state, word)
    words = _listed(model, state) if model.vocabulary.unit == "word" else _spelled(model, state, count)
    return heapq.nlargest(count, words)


def _listed(model: RecurrentLanguageModel, state: History) -> Iterator[NextWord]:
    for token, log_prob in enumerate(state.log_probs):
        if token != model.vocabulary.unknown:
            yield NextWord(float(log_prob), model.vocabulary.symbol(token))


def _spelled(model: RecurrentLanguageModel, state: History, count: int) -> list[NextWord]:
    vocabulary = model.vocabulary
    letters = [t for t in range(len(vocabulary)) if t not in (END, vocabulary.space, vocabulary.unknown)]
    go_on, first = model.go_on(state)
    found = [NextWord(model.finish(state), END_SYMBOL)]
    begun: list[tuple[NextWord, History]] = [(NextWord(go_on, ""), first)]
    for _ in range(LONGEST + 1):
        History.ask(history for _, history in begun)
        found += [NextWord(part.log_prob + model.word_end(history), part.word) for part, history in begun if part.word]
        found = heapq.nlargest(count, found)
        worst = found[-1].log_prob if len(found) == count else -np.inf
        longer = (
            (NextWord(part.log_prob + float(history.log_probs[t]), part.word + vocabulary.symbol(t)), history, t)
            for part, history in begun
            for t in letters
        )
        hopeful = (entry for entry in longer if entry[0].log_prob > worst)
        likely = heapq.nlargest(max(BEAM, 2 * count), hopeful, key=_log_prob)
        begun = [(part, history.then(t)) for part, history, t in likely]
    return found


def _log_prob(entry: tuple[NextWord, History, int]) -> float:
    return entry[0].log_prob
