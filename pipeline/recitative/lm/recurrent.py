"""Recurrent language models, which predict the next word or character of a text: word by word for beam search and
rescoring, whole texts, the next words, and continued text. NumPy only.

The network may be PyTorch's (``model.folder``) or ONNX Runtime's (``model.onnx_stage``): both are stages.

With words for tokens ln P(word | state) is the network's own. With characters a word is spelled out and ended. It ends
at the space or at </s>, whichever comes, and the state after it then says which:

    P(word | state) = P(go on | state) * P(first character | ...) * ... * P(last character | ...) * P(word ends | ...)
    P(word ends) = P(space) + P(</s>)      P(go on) = P(space) / P(word ends)      P(finish) = P(</s>) / P(word ends)

and before the first word P(go on) = 1, P(finish) = P(</s>). So with both units the probabilities of all words and of
the finish sum to one, less what the network gives to spaces where no word ends and to </s> right behind a space, and
the sum over a sentence is the chain rule over its tokens. All logarithms are natural.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from recitative.config import ForwardRecurrentSettings, Section, TextTrainSettings, TrainingData
from recitative.model.kind import VOCABULARY, ModelKind, ModelMetadata, token_graph
from recitative.stage import Array, Ids, Mask, Padded, Stage, State, run_whole
from recitative.text.tokens import END, END_SYMBOL, TextUnit, Vocabulary


class TextSettings(Section):
    unit: TextUnit = "word"
    min_count: int = Field(2, ge=1)  # rarer tokens of the training text become the unknown symbol
    streams: int = Field(16, ge=1)  # batch size: streams into which the text is split
    bptt: int = Field(32, ge=1)  # truncated BPTT length in tokens


class NetworkSettings(Section):
    embedding: int = Field(256, ge=1)  # embedding width of tokens
    dropout: float = Field(0.5, ge=0, lt=1)  # of the embedding and of the output layer's input
    tied: bool = True  # the output layer shares the weights of the embedding
    recurrent: ForwardRecurrentSettings = ForwardRecurrentSettings()


class LanguageModelSettings(Section):
    """Settings of a recurrent language model."""

    kind: Literal["language_model"] = "language_model"  # identifies the kind of model
    text: TextSettings = TextSettings()
    model: NetworkSettings = NetworkSettings()
    train: TextTrainSettings = TextTrainSettings()


class LanguageModelData(TrainingData):
    train: tuple[Path, ...] = Field(min_length=1)  # data directories, shards or text tables
    dev: Path  # the data directory or text table that chooses the best epoch

    @field_validator("train", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str | Path) else value


def describe(metadata: ModelMetadata) -> dict[str, str]:
    vocabulary = metadata.extras["vocabulary"]
    return {"kind": "language model", "tokens": f"{len(vocabulary)} {vocabulary.unit}s"}


LANGUAGE_MODEL = ModelKind(
    name="language_model",
    settings=LanguageModelSettings,
    data=LanguageModelData,
    build="recitative.lm.task:new_language_model",
    task="recitative.lm.task:prepare",
    runner=lambda stage, settings, vocabulary: RecurrentLanguageModel(stage, vocabulary),
    graphs=lambda settings, extras: token_graph(len(extras["vocabulary"])),
    describe=describe,
    extras={"vocabulary": VOCABULARY},
)


BATCH = 32  # texts scored together
BEAM = 64  # minimal beam of the search for the next word
LONGEST = 40  # characters of a word that is written; where it is full, it ends


class History:
    """A sentence so far; equal only to itself. The network is run once, when ``log_probs`` is first read."""

    def __init__(self, network: Stage[Array], token: int, before: History | None) -> None:
        """token: the last one, after those of ``before``; or the mark that starts a sentence."""
        self.is_start = before is None
        self._network = network
        self._token = token
        self._before = before
        self._followers: dict[int, History] = {}
        self._read: tuple[Array, State] | None = None

    @property
    def log_probs(self) -> Array:
        """ln P of each token that may follow, (V,) float32."""
        return self._output()[0]

    def then(self, token: int) -> History:
        """This sentence with one more token; always the same object."""
        if token not in self._followers:
            self._followers[token] = History(self._network, token, self)
        return self._followers[token]

    @staticmethod
    def run(histories: Iterable[History]) -> None:
        """Run the network for those histories of one model for which it has not been run, in one call."""
        rows = [history for history in dict.fromkeys(histories) if history._read is None]
        if not rows:
            return
        network = rows[0]._network
        before = [row._before._output()[1] if row._before else network.initial_state(1) for row in rows]
        state = {name: np.concatenate([one[name] for one in before]) for name in before[0]}
        tokens = np.array([[row._token] for row in rows], np.int64)
        y, after = network.step(Padded(tokens, np.ones(len(rows), np.int64)), state, last=False)
        for i, history in enumerate(rows):  # copies, so that one that is kept does not keep the others
            history._read = y.data[i, 0].copy(), {name: value[i : i + 1].copy() for name, value in after.items()}
            history._before = None  # an endless sentence must not hold all of itself

    def _output(self) -> tuple[Array, State]:
        if self._read is None:
            History.run([self])
        assert self._read is not None
        return self._read


class RecurrentLanguageModel:
    """A ``LanguageModel`` (``lm.arpa``) whose states are histories, and the scorer of whole texts."""

    def __init__(self, network: Stage[Array], vocabulary: Vocabulary) -> None:
        """``network`` is a stage, token ids (N, T) int64 -> ln P of the next token (N, T, V)."""
        self.network = network
        self.vocabulary = vocabulary

    def start(self) -> History:
        """The state before a sentence's first word."""
        return History(self.network, END, None)

    def score(self, state: Hashable, word: str) -> tuple[float, History]:
        """ln P(word | state), and the next state. Tokens that the vocabulary lacks score as its unknown symbol.

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
        """True if the word, or each of its characters, is in the vocabulary."""
        return self.vocabulary.knows(word)

    def go_on(self, history: History) -> tuple[float, History]:
        """ln P(go on), 0 where words are tokens, and the history before the next word's first token."""
        if self.vocabulary.unit == "word" or history.is_start:
            return 0.0, history
        space = self.vocabulary.space
        return float(history.log_probs[space]) - self.word_end(history), history.then(space)

    def word_end(self, history: History) -> float:
        """ln P(word ends) after the characters of a word; 0 where words are tokens."""
        if self.vocabulary.unit == "word":
            return 0.0
        return float(np.logaddexp(history.log_probs[self.vocabulary.space], history.log_probs[END]))

    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """ln P of each whole sentence: the sum of ``score`` and ``finish``, computed for many sentences at once."""
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
        y = run_whole(self.network, Padded(read[:, :-1], lengths))
        log_probs = np.take_along_axis(y.data, read[:, 1:, None], axis=-1)[..., 0]  # (N, T, V) -> (N, T)
        inside = np.arange(log_probs.shape[1]) < lengths[:, None]
        return [float(score) for score in np.where(inside, log_probs, 0.0).sum(-1, dtype=np.float64)]


def _own(state: Hashable) -> History:
    assert isinstance(state, History), "a state comes from the model to which it is given"
    return state


@dataclass(frozen=True, order=True)
class NextWord:
    log_prob: float  # natural; that of ``score``, or of ``finish`` for '</s>'
    word: str  # or '</s>': the sentence ends


def next_words(model: RecurrentLanguageModel, prompt: str, count: int) -> list[NextWord]:
    """The ``count`` most probable words after the words of ``prompt``, best first; never the unknown symbol.

    With characters they are found by beam search: a word is found if each of its beginnings is among the ``BEAM`` most
    probable of its length.
    """
    state = model.start()
    for word in prompt.split():
        _, state = model.score(state, word)
    vocabulary = model.vocabulary
    if vocabulary.unit == "word":
        tokens = (token for token in range(len(vocabulary)) if token != vocabulary.unknown)
        words = [NextWord(float(state.log_probs[token]), vocabulary.symbol(token)) for token in tokens]
    else:
        words = _spelled_words(model, state, count)
    return heapq.nlargest(count, words)


def _spelled_words(model: RecurrentLanguageModel, state: History, count: int) -> list[NextWord]:
    vocabulary = model.vocabulary
    letters = [t for t in range(len(vocabulary)) if t not in (END, vocabulary.space, vocabulary.unknown)]
    go_on, first = model.go_on(state)
    found = [NextWord(model.finish(state), END_SYMBOL)]
    begun: list[tuple[NextWord, History]] = [(NextWord(go_on, ""), first)]
    for _ in range(LONGEST + 1):
        History.run(history for _, history in begun)
        found += [NextWord(part.log_prob + model.word_end(history), part.word) for part, history in begun if part.word]
        found = heapq.nlargest(count, found)
        worst = found[-1].log_prob if len(found) == count else -np.inf
        longer = (
            (NextWord(part.log_prob + float(history.log_probs[t]), part.word + vocabulary.symbol(t)), history, t)
            for part, history in begun
            for t in letters
        )
        hopeful = (entry for entry in longer if entry[0].log_prob > worst)
        likely = heapq.nlargest(max(BEAM, 2 * count), hopeful, key=lambda entry: entry[0].log_prob)
        begun = [(part, history.then(t)) for part, history, t in likely]
    return found


@dataclass(frozen=True)
class Sampling:
    """temperature: > 0; top_p: threshold of nucleus sampling, in (0, 1]."""

    temperature: float = 1.0
    top_p: float = 1.0


def distribution(scores: Array, allowed: Mask, sampling: Sampling) -> npt.NDArray[np.float64]:
    """Probabilities (M, outputs), 0 for tokens that are not allowed or not in the nucleus. At least one is above 0."""
    scores = np.where(allowed, scores.astype(np.float64), -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):  # at extreme temperatures; -inf is set below
        cooled = (scores - scores.max(axis=-1, keepdims=True)) / sampling.temperature
    probabilities = np.exp(np.where(allowed, cooled, -np.inf))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    if sampling.top_p < 1:
        ordered = -np.sort(-probabilities, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered
        least = np.where(before < sampling.top_p, ordered, np.inf).min(axis=-1, keepdims=True)
        probabilities = np.where(probabilities >= least, probabilities, 0.0)
    return np.asarray(probabilities)


def categorical(probabilities: npt.NDArray[np.float64], numbers: npt.NDArray[np.float64]) -> Ids:
    """Samples (...) from probabilities (..., V) by inversion of numbers (...) from [0, 1); never of probability 0.

    The probabilities need not sum to 1.
    """
    below = np.cumsum(probabilities, axis=-1)
    # A product may round up to the sum.
    places = np.minimum(numbers * below[..., -1], np.nextafter(below[..., -1], 0.0))
    return np.asarray((below <= places[..., None]).sum(-1), np.int64)


def continue_text(
    model: RecurrentLanguageModel, prompt: str, sampling: Sampling, *, words: int, count: int, seed: int
) -> list[str]:
    """``count`` lines that begin with the prompt, each at most ``words`` words longer.

    A model of characters goes on with the prompt's last word unless a blank ends it; what it adds to that word is not
    counted. The unknown symbol is never written, and no line is empty. A line depends on (seed, its number) only.
    """
    vocabulary, start = model.vocabulary, model.start()
    tokens = vocabulary.encode(prompt)
    if vocabulary.unit == "character" and tokens and prompt[-1].isspace():
        tokens.append(vocabulary.space)
    for token in tokens:
        start = start.then(token)
    lines = [_Line(vocabulary, prompt, start, words, np.random.default_rng([seed, row])) for row in range(count)]
    while writing := [line for line in lines if not line.ended]:
        History.run(line.history for line in writing)
        scores = np.stack([line.history.log_probs for line in writing])
        probabilities = distribution(scores, np.stack([line.legal() for line in writing]), sampling)
        for line, row in zip(writing, probabilities, strict=True):
            line.sample(row)
    return [line.text for line in lines]


class _Line:
    """A line that is being written."""

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
        self._letters = len(self._prompt.split()[-1]) if self._prompt and not self._symbols else 0  # of the last word
        self._left = words - (self._spells and not self._letters)  # words that may still begin

    @property
    def text(self) -> str:
        """The prompt and its continuation."""
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

    def sample(self, probabilities: npt.NDArray[np.float64]) -> None:
        """Add a token, by the probabilities (V,)."""
        token = int(categorical(probabilities, np.array(self._rng.random())))
        begins = not self._spells or token == self._vocabulary.space  # a word
        self.ended = token == END or (begins and not self._left)
        if self.ended:
            return
        self._left -= begins
        self._letters = 0 if begins else self._letters + 1
        self._symbols.append(self._vocabulary.symbol(token) + ("" if self._spells else " "))
        self.history = self.history.then(token)
