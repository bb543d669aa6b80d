"""A recurrent language model as beam search and rescoring ask it: word by word, or whole texts. NumPy only.

The network may be PyTorch's (``model.torch_stage``) or ONNX Runtime's (``model.onnx_stage``): both are stages.

With words for tokens ln P(word | state) is the network's own. With characters a word is spelled out and ended. It ends
at the space or at </s>, whichever comes, and the state after it then says which:

    P(word | state) = P(go on | state) * P(first character | ...) * ... * P(last character | ...) * P(word ends | ...)
    P(word ends) = P(space) + P(</s>)      P(go on) = P(space) / P(word ends)      P(finish) = P(</s>) / P(word ends)

and before the first word P(go on) = 1, P(finish) = P(</s>). So with both units the probabilities of all words and of
the finish sum to one, less what the network gives to spaces where no word ends and to </s> right behind a space, and
the sum over a sentence is the chain rule over its tokens. All logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from recitative.stage import Array, Padded, Stage, State
from recitative.text.vocabulary import END, Vocabulary

BATCH = 32  # texts scored together


class History:
    """A sentence so far; equal only to itself. It runs the network when first asked what follows, and only once."""

    def __init__(self, network: Stage[Array], token: int, before: History | None) -> None:
        """``token`` is the last one, that after ``before``; without one before it, the sign that starts a sentence."""
        self.is_start = before is None
        self._network = network
        self._token = token
        self._before = before
        self._followers: dict[int, History] = {}
        self._read: tuple[Array, State] | None = None

    @property
    def log_probs(self) -> Array:
        """ln P of each token that may follow, (V,) float32."""
        return self._asked()[0]

    def then(self, token: int) -> History:
        """This sentence with one more token; the same object whenever it is asked."""
        if token not in self._followers:
            self._followers[token] = History(self._network, token, self)
        return self._followers[token]

    @staticmethod
    def ask(histories: Iterable[History]) -> None:
        """Run the network for those of one model that have not been asked, all in one call."""
        asked = [history for history in dict.fromkeys(histories) if history._read is None]
        if not asked:
            return
        before = [history._state_before() for history in asked]
        state = {name: np.concatenate([one[name] for one in before]) for name in before[0]}
        tokens = np.array([[history._token] for history in asked], np.int64)
        y, after = asked[0]._network.step(Padded(tokens, np.ones(len(asked), np.int64)), state, last=False)
        for i, history in enumerate(asked):  # copies, so that one that is kept does not keep the others
            history._read = y.data[i, 0].copy(), {name: value[i : i + 1].copy() for name, value in after.items()}
            history._before = None  # an endless sentence must not hold all of itself

    def _asked(self) -> tuple[Array, State]:
        if self._read is None:
            History.ask([self])
        assert self._read is not None
        return self._read

    def _state_before(self) -> State:
        return self._network.initial_state(1) if self._before is None else self._before._asked()[1]


class RecurrentLanguageModel:
    """A ``LanguageModel`` (``lm.query``) whose states are histories, and the scorer of whole texts."""

    def __init__(self, network: Stage[Array], vocabulary: Vocabulary) -> None:
        """``network`` is a stage, token ids (N, T) int64 -> ln P of the next token (N, T, V)."""
        self.network = network
        self.vocabulary = vocabulary

    def start(self) -> History:
        """The state before a sentence's first word."""
        return History(self.network, END, None)

    def score(self, state: Hashable, word: str) -> tuple[float, History]:
        """ln P(word | state), and the state behind the word. What the vocabulary lacks scores as its unknown symbol.

        Raises ValueError for what is not one word.
        """
        total, history = self.go_on(_own(state))
        for token in self.vocabulary.encode_word(word):
            total += float(history.log_probs[token])
            history = history.then(token)
        return total + self.word_end(history), history

    def finish(self, state: Hashable) -> float:
        """ln P that the sentence ends here."""
        history = _own(state)
        return float(history.log_probs[END]) - (0.0 if history.is_start else self.word_end(history))

    def knows(self, word: str) -> bool:
        """Whether the word, or each of its characters, is in the vocabulary."""
        return self.vocabulary.knows(word)

    def go_on(self, history: History) -> tuple[float, History]:
        """ln P that another word follows, where that has a price of its own, and what that word's tokens come after."""
        if self.vocabulary.unit == "word" or history.is_start:
            return 0.0, history
        space = self.vocabulary.space
        return float(history.log_probs[space]) - self.word_end(history), history.then(space)

    def word_end(self, history: History) -> float:
        """ln P that the word whose characters were read last is complete; 0 where a word is one token."""
        if self.vocabulary.unit == "word":
            return 0.0
        return float(np.logaddexp(history.log_probs[self.vocabulary.space], history.log_probs[END]))

    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """ln P of each whole sentence, its end included: what ``score`` and ``finish`` sum up to, in few calls."""
        rows = [self.vocabulary.encode(text) for text in texts]
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        scores = [0.0] * len(rows)
        for start in range(0, len(rows), BATCH):
            group = by_length[start : start + BATCH]
            for i, score in zip(group, self._score_rows([rows[i] for i in group]), strict=True):
                scores[i] = score
        return scores

    def _score_rows(self, rows: Sequence[Sequence[int]]) -> list[float]:
        lengths = np.array([len(row) + 1 for row in rows], np.int64)
        read = np.full((len(rows), int(lengths.max()) + 1), END, np.int64)  # </s>, the row, </s>
        for target, row in zip(read, rows, strict=True):
            target[1 : len(row) + 1] = row
        y, _ = self.network.step(Padded(read[:, :-1], lengths), self.network.initial_state(len(rows)), last=True)
        log_probs = np.take_along_axis(y.data, read[:, 1:, None], axis=-1)[..., 0]  # (N, T, V) -> (N, T)
        inside = np.arange(log_probs.shape[1]) < lengths[:, None]
        return [float(score) for score in np.where(inside, log_probs, 0.0).sum(-1, dtype=np.float64)]


def _own(state: Hashable) -> History:
    assert isinstance(state, History), "a state comes from the model to which it is given"
    return state
