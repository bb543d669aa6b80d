"""An n-gram model as a decoder asks it: one dictionary look-up a word, and one more for every time it backs off.

The table becomes an automaton. A state is a context after which some longer n-gram is listed, or whose backoff is not
one; everything else that one could remember has no influence on the future, and is forgotten at once, as KenLM does
(Heafield 2011, section 4.1). So two histories are in one state if their listed continuations are the same. An arc is
an n-gram: it starts at its context's state and leads to that of its longest suffix that has one.
"""

from __future__ import annotations

from array import array

import numpy as np

from recitative.lm.model import BEGIN, END, UNKNOWN, State
from recitative.lm.table import MARKS, Ints, NgramTable

ROOT = 0  # the state that remembers nothing; every word has an arc from it


class NgramModel:
    """A ``LanguageModel``; states are whole numbers. About 150 bytes an n-gram."""

    def __init__(self, table: NgramTable) -> None:
        states = _States(table)
        self.order = len(table.orders)
        self._words = {word: number for word, number in table.ids.items() if word not in MARKS}
        self._size = len(table.words)
        self._unknown, self._end = table.ids[UNKNOWN], table.ids[END]
        self._start = int(states.of_order[0][table.ids[BEGIN]])
        self._arcs, self._log_probs, self._next = states.arcs()
        self._backoffs, self._shorter = states.backoffs()

    def start(self) -> State:
        return self._start

    def score(self, state: State, word: str) -> tuple[float, State]:
        return self._step(state, self._words.get(word, self._unknown))

    def finish(self, state: State) -> float:
        return self._step(state, self._end)[0]

    def knows(self, word: str) -> bool:
        return word in self._words

    def _step(self, state: State, word: int) -> tuple[float, int]:
        here: int = state  # type: ignore[assignment]  # whoever asks got it from this model
        log_prob = 0.0
        arc = self._arcs.get(here * self._size + word)
        while arc is None:
            log_prob += self._backoffs[here]
            here = self._shorter[here]
            arc = self._arcs.get(here * self._size + word)
        return log_prob + self._log_probs[arc], self._next[arc]


class _States:
    """The states of a table: ``own[n - 1]`` (G,) is the number of the state of each n-gram, or -1 if it has none;
    ``of_order[n - 1]`` (G,) the state one is in after the n-gram, which is that of its longest suffix with one."""

    def __init__(self, table: NgramTable) -> None:
        self._table = table
        self.own: list[Ints] = []
        self.of_order: list[Ints] = []
        first = ROOT + 1
        for n, order in enumerate(table.orders, start=1):
            longer = table.orders[n].context if n < len(table.orders) else np.zeros(0, np.int64)
            has_one = (np.bincount(longer, minlength=len(order)) > 0) | (order.log_backoff != 0)
            self.own.append(np.where(has_one, first - 1 + np.cumsum(has_one), -1))
            first += int(has_one.sum())
            self.of_order.append(np.where(has_one, self.own[-1], self._after(table.grams[n - 1][:, 1:])))

    def arcs(self) -> tuple[dict[int, int], array[float], array[int]]:
        """Key of (state, word) -> arc; ln P and next state of each arc."""
        keys = []
        for n, order in enumerate(self._table.orders):
            begins = self.own[n - 1][order.context] if n else np.full(len(order), ROOT)
            keys.append(begins * len(self._table.words) + order.word)
        all_keys = np.concatenate(keys)
        log_probs = np.concatenate([order.log_prob for order in self._table.orders])
        arcs = dict(zip(all_keys.tolist(), range(len(all_keys)), strict=True))
        return arcs, array("d", log_probs.tobytes()), array("q", np.concatenate(self.of_order).tobytes())

    def backoffs(self) -> tuple[array[float], array[int]]:
        """ln b of each state, and the state to go on from; the root has no use for either."""
        backoffs, shorter = [np.zeros(1)], [np.full(1, ROOT)]
        for order, own, grams in zip(self._table.orders, self.own, self._table.grams, strict=True):
            has_one = own >= 0
            backoffs.append(order.log_backoff[has_one])
            shorter.append(self._after(grams[has_one, 1:]))
        return array("d", np.concatenate(backoffs).tobytes()), array("q", np.concatenate(shorter).tobytes())

    def _after(self, grams: Ints) -> Ints:
        """The states (N,) after n-grams (N, n) that need not be listed."""
        if grams.shape[1] == 0:
            return np.full(len(grams), ROOT)
        rows = self._table.find(grams)
        states = np.append(self.of_order[grams.shape[1] - 1], ROOT)[rows]  # row -1 is the last: not listed
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            states[missing] = self._after(grams[missing, 1:])
        return states
