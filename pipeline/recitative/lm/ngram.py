"""Packed n-gram models, in a few flat arrays: a decoder opens one without parsing, and queries it without objects.

The n-grams are a trie. Node 0 is the empty context, nodes 1 to V are the unigrams, then come the bigrams, sorted by
context and word, and so on, so that the n-grams that continue a node lie side by side and a word is found among them by
bisection. A state is the node of the longest context that is listed and has a say in what follows (Heafield 2011,
section 4.1): a whole number, and equal states have equal futures.

    ln P(w | h) = ln p(h w) if that node is there, else ln b(h) + ln P(w | h without its first word)
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from recitative.errors import DataError
from recitative.lm.arpa import BEGIN, END, MARKS, UNKNOWN, NgramTable, Order, State, parse_arpa, read_arpa
from recitative.reading import opened, parsed_json, read_text
from recitative.stage import Array

MAGIC = "recitative n-gram model 1"
REMEDY = "make it again with 'recitative lm compress'"
_PIECE = 1 << 18  # n-grams that are computed on at a time, so that little memory is needed
_BINS = 255  # of a quantized column; a code of its own stands for 0
LARGEST = 1 << 31  # bytes of a model in memory


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A ``LanguageModel``; ``step`` is for many states at once.

    words:       by id, marks included; those that end the most n-grams first
    sizes:       how many n-grams there are of each order
    keys:        (G + 1,) int64, sorted: the context and the last word of node 1 + i, as context * V + id; the last is
                 nobody's
    first:       (1 + C + 1,) where the children of each node of lower order than the highest begin, and end
    suffix:      (1 + C,) the node of the longest listed suffix: the n-gram without its first word, or shorter
    log_prob:    (1 + G,) ln P(word | context), in single precision if it was read from a file
    log_backoff: (1 + C,) ln b; 0 for node 0
    """

    words: tuple[str, ...]
    sizes: tuple[int, ...]
    keys: Array
    first: Array
    suffix: Array
    log_prob: Array
    log_backoff: Array

    @classmethod
    def of(cls, table: NgramTable) -> NgramModel:
        """The model of a table."""
        table = _by_frequency(table)
        sizes = tuple(map(len, table.orders))
        starts = np.cumsum((1, *sizes))  # the first node of each order
        words, parents, suffixes = [], [], [np.zeros(1, np.int64)]
        for n, order in enumerate(table.orders, start=1):
            words.append(order.word)
            parents.append(order.context + starts[n - 2] if n > 1 else np.zeros(len(order), np.int64))
            if n < len(sizes):
                suffixes.append(_listed_suffixes(table, table.grams[n - 1][:, 1:], starts))
        children = np.bincount(np.concatenate(parents), minlength=int(starts[len(sizes) - 1]))
        return cls(
            table.words,
            sizes,
            _keys(np.concatenate(words), children, len(table.words)),
            np.append(1, 1 + np.cumsum(children)).astype(np.uint32),
            np.concatenate(suffixes).astype(np.int32),
            np.concatenate([[0.0], *(order.log_prob for order in table.orders)]),
            np.concatenate([[0.0], *(order.log_backoff for order in table.orders[:-1])]),
        )

    def table(self) -> NgramTable:
        """The inverse of ``of``: the same n-grams as a table, to be interpolated or pruned."""
        starts = np.cumsum((1, *self.sizes))
        parents, words = np.divmod(self.keys[:-1], len(self.words))  # of the nodes from 1 on
        log_backoff = np.zeros(len(self.keys))
        log_backoff[: len(self.log_backoff)] = self.log_backoff
        orders = []
        for n, (begin, end) in enumerate(pairwise(starts)):
            context = parents[begin - 1 : end - 1] - (starts[n - 1] if n else 0)
            log_prob = self.log_prob[begin:end].astype(np.float64)
            orders.append(Order(context, words[begin - 1 : end - 1], log_prob, log_backoff[begin:end]))
        return NgramTable(self.words, tuple(orders))

    @property
    def order(self) -> int:
        """Words in the longest n-gram."""
        return len(self.sizes)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The ids of all words but the marks."""
        return {word: number for number, word in enumerate(self.words) if word not in MARKS}

    def start(self) -> State:
        return int(self._state[self.words.index(BEGIN) + 1]) if self.order > 1 else 0

    def score(self, state: State, word: str) -> tuple[float, State]:
        return self._ask(state, self.ids.get(word, self.unknown))

    def finish(self, state: State) -> float:
        return self._ask(state, self._end)[0]

    def knows(self, word: str) -> bool:
        return word in self.ids

    @cached_property
    def unknown(self) -> int:
        """The id of ``<unk>``."""
        return self.words.index(UNKNOWN)

    def word_ids(self, words: tuple[str, ...]) -> Array:
        """(N,) for ``step``; -1 for words that it does not know."""
        return np.array([self.ids.get(word, -1) for word in words], np.int64)

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        """States (N,) and ids (N,) -> ln P(word | state) (N,) float64, and the next states (N,)."""
        log_prob, found, following = np.zeros(len(states)), np.zeros(len(states), np.bool_), np.zeros_like(states)
        contexts = states
        for _ in range(self.order):
            nodes = self._find(contexts, words) if contexts.any() else words + 1
            listed = nodes > 0
            log_prob += np.where(found, 0.0, np.where(listed, self.log_prob[nodes], self.log_backoff[contexts]))
            found |= listed
            context_again = (following == 0) & (nodes < len(self.suffix))
            following = np.where(context_again, nodes, following)
            if not contexts.any():
                break
            contexts = self.suffix[contexts]
        return log_prob, self._state[following]

    @cached_property
    def bounds(self) -> Array:
        """(V,) what ln P of each word, by id, is not above, whatever the state."""
        best = np.full(len(self.words), -math.inf, self.log_prob.dtype)
        for begin in range(0, len(self.keys) - 1, _PIECE):
            words = self.keys[:-1][begin : begin + _PIECE] % len(self.words)
            np.maximum.at(best, words, self.log_prob[1:][begin : begin + _PIECE])
        starts = np.cumsum((1, *self.sizes[:-1]))
        raised = [self.log_backoff[begin:end].max(initial=0.0) for begin, end in pairwise(starts)]
        return np.asarray(best + sum(raised))

    def finish_all(self, states: Array) -> Array:
        """ln P(</s> | state) (N,)."""
        return self.step(states, np.full(len(states), self._end))[0]

    @cached_property
    def _end(self) -> int:
        return self.words.index(END)

    @cached_property
    def _state(self) -> Array:
        """(1 + C,) the state one is in after a node: itself, or its longest suffix that has a say."""
        says = (self.first[1:] > self.first[:-1]) | (self.log_backoff != 0)
        states = np.arange(len(says), dtype=np.int32)
        for begin in range(0, len(says), _PIECE):
            silent = begin + np.flatnonzero(~says[begin : begin + _PIECE])
            for _ in range(self.order):  # each round shortens by a word at least
                states[silent] = self.suffix[states[silent]]
                silent = silent[~says[states[silent]]]
        return states

    def _find(self, contexts: Array, words: Array) -> Array:
        """The nodes (N,) of contexts and one word more, 0 where none is listed."""
        wanted = contexts.astype(np.int64) * len(self.words) + words
        places = self.keys.searchsorted(wanted)
        return np.where(self.keys[places] == wanted, places + 1, 0)

    @cached_property
    def _views(self) -> tuple[memoryview, ...]:
        """For one question at a time: the items of a memoryview are plain numbers."""
        arrays = (self.keys, self.first, self.suffix, self.log_prob, self.log_backoff, self._state)
        return tuple(np.ascontiguousarray(array).data for array in arrays)

    def _ask(self, state: State, word: int) -> tuple[float, int]:
        keys, first, suffix, log_probs, log_backoffs, states = self._views
        context: int = state  # type: ignore[assignment]  # whoever asks got it from this model
        log_prob, found = 0.0, False
        while True:
            key = context * len(self.words) + word
            node = 1 + bisect_left(keys, key, first[context] - 1, first[context + 1] - 1)
            if keys[node - 1] == key:
                if not found:
                    log_prob, found = log_prob + log_probs[node], True
                if node < len(states):
                    return log_prob, states[node]
            elif not found:
                log_prob += log_backoffs[context]
            if not context:
                return log_prob, 0
            context = suffix[context]

    def quantized(self) -> NgramModel:
        """The same with 255 values for the probabilities of each order above the first, and as many for its backoffs:
        each is that of the middle of equally many n-grams (Federico & Bertoldi 2006). Backoffs of one stay one."""
        log_prob, log_backoff = (column.astype(np.float32) for column in (self.log_prob, self.log_backoff))
        starts = np.cumsum((1, *self.sizes))
        for begin, end in pairwise(starts[1:]):
            for column in (log_prob, log_backoff):
                column[begin:end] = _binned(column[begin:end])
        return replace(self, log_prob=log_prob, log_backoff=log_backoff)

    def with_words(self, words: Sequence[str], log_prob: float) -> NgramModel:
        """The same with further words, each a unigram: ln P(word | h) is ``log_prob`` and the backoffs of h.

        All other scores stay as they are, so the probabilities of the words after h sum to one and the added part:
        ``len(words) * exp(log_prob)`` times the backoffs. ``words`` are ones that it does not know.
        """
        more, end = len(words), 1 + self.sizes[0]  # their nodes come after the other unigrams
        vocabulary = (*self.words, *words)
        children = np.diff(self.first).astype(np.int64)
        children[0] += more
        suffix, log_backoff = self.suffix, self.log_backoff
        if self.order > 1:
            children = np.insert(children, [end] * more, 0)
            suffix = np.insert(np.where(suffix < end, suffix, suffix + more), [end] * more, 0)
            log_backoff = np.insert(log_backoff, [end] * more, 0.0)
        own = np.insert(self.keys[:-1] % len(self.words), [end - 1] * more, np.arange(self.sizes[0], len(vocabulary)))
        return NgramModel(
            vocabulary,
            (len(vocabulary), *self.sizes[1:]),
            _keys(own, children, len(vocabulary)),
            np.append(1, 1 + np.cumsum(children)).astype(np.uint32),
            suffix.astype(np.int32),
            np.insert(self.log_prob, [end] * more, log_prob),
            log_backoff,
        )

    def to_text(self) -> str:
        """The packed form that ``parse`` reads: arrays, compressed with zlib and written in base64."""
        starts = np.cumsum((1, *self.sizes))
        id_type = np.uint16 if len(self.words) <= 1 << 16 else np.uint32
        higher = (self.keys[self.sizes[0] : -1] % len(self.words)).astype(id_type)
        arrays: list[Array] = [
            np.frombuffer("\n".join(self.words).encode(), np.uint8),
            np.diff(self.first).astype(np.uint32),
            np.diff(higher, prepend=higher.dtype.type(0)),  # most are small, and pack well
            self.suffix[starts[2] :] if self.order > 2 else self.suffix[:0],
        ]
        for begin, end in pairwise(starts):
            for column in (self.log_prob, self.log_backoff):
                arrays += _coded(column[begin:end].astype(np.float32))
        header = {"sizes": self.sizes, "arrays": [[array.dtype.str, len(array)] for array in arrays]}
        packed = zlib.compress(b"".join(_planes(array).tobytes() for array in arrays), 6)
        return f"{MAGIC}\n{json.dumps(header)}\n{base64.b64encode(packed).decode()}\n"

    @classmethod
    def parse(cls, text: str, where: str) -> NgramModel:
        """The model of ``to_text``. Raises DataError; zlib's checksum tells of any damage."""
        try:
            magic = text[: text.index("\n")]
            if magic != MAGIC:
                raise DataError(where, f"'{magic[:60]}'", f"'{MAGIC}'", REMEDY)
            header_end = text.index("\n", len(MAGIC) + 1)
            facts = parsed_json(text[len(MAGIC) + 1 : header_end], where, "a whole n-gram model")
            return cls._of_arrays(tuple(facts["sizes"]), _unpacked(text, header_end + 1, facts["arrays"]))
        except (ValueError, KeyError, TypeError, IndexError, zlib.error, binascii.Error):
            raise DataError(where, "is damaged", "a whole n-gram model", REMEDY) from None

    @classmethod
    def _of_arrays(cls, sizes: tuple[int, ...], arrays: Iterator[Array]) -> NgramModel:
        """The model of arrays, which are unpacked one after another, so that few are in memory twice."""
        blob, children, higher, suffixes = (_next(arrays) for _ in range(4))
        words = tuple(blob.tobytes().decode().split("\n"))
        starts = np.cumsum((1, *sizes)).tolist()
        inner, nodes = starts[len(sizes) - 1], starts[-1]
        lengths = (len(words), len(children), len(higher), len(suffixes))
        if lengths != (sizes[0], inner, nodes - starts[1], inner - starts[2] if len(sizes) > 2 else 0):
            raise ValueError("arrays of wrong lengths")
        if children.sum(dtype=np.int64) != nodes - 1:
            raise ValueError("contexts without their n-grams")
        first = np.ones(inner + 1, np.uint32)
        first[1:] += np.cumsum(children, dtype=np.uint32)
        np.cumsum(higher, dtype=higher.dtype, out=higher)
        suffix = np.zeros(inner, np.int32)  # that of a unigram is nothing, that of a bigram its last word
        if len(sizes) > 2:
            np.add(higher[: sizes[1]], 1, out=suffix[starts[1] : starts[2]], dtype=np.int32)
            suffix[starts[2] :] = suffixes
        keys = _keys(np.append(np.arange(sizes[0], dtype=higher.dtype), higher), children, sizes[0])
        del children, higher, suffixes
        log_prob, log_backoff = np.zeros(nodes, np.float32), np.zeros(inner, np.float32)
        for begin, end in pairwise(starts):
            for column in (log_prob[begin:end], log_backoff[begin:end]):
                book, codes = _next(arrays), _next(arrays)
                if len(codes) != len(column):
                    raise ValueError("a column of another length")
                column[:] = book[codes] if len(book) else codes
        if next(arrays, None) is not None:
            raise ValueError("more arrays than columns")
        if not set(MARKS) <= set(words):
            raise ValueError("no marks")
        return cls(words, sizes, keys, first, suffix, log_prob, log_backoff)


class StoredNgram:
    """An n-gram model as text, packed or ARPA, that is opened when it is first asked for. From then on the text is not
    kept, since it takes a third of the model's memory; packed text can be made again."""

    def __init__(self, text: str, where: str = "lm.ngram") -> None:
        """where: starts the error lines"""
        self._text, self._where = text, where
        self._model: NgramModel | None = None

    @property
    def model(self) -> NgramModel:
        """Raises DataError for a damaged text."""
        text, model = self._text, self._model  # in this order, since another thread may be opening it
        if model is None:
            model = self._model = parse_lm(text, self._where)
            self._text = ""
        return model

    @property
    def text(self) -> str:
        text = self._text
        return text if text or self._model is None else self._model.to_text()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredNgram) and self.text == other.text

    __hash__ = None  # type: ignore[assignment]


def read_lm(path: str | Path, progress: Callable[[int, int], object] = lambda done, total: None) -> NgramModel:
    """An ARPA file, plain or gzipped, or a file of ``NgramModel.to_text``. Raises DataError for anything else.

    ``progress(n-grams read, of how many)`` is called now and then, of an ARPA file.
    """
    if Path(path).is_file():  # a pipe can be read once only, and is taken for ARPA
        with opened(path, "an n-gram model") as stream:
            start = stream.read(len(MAGIC))
        if start.startswith(b"mmap lm "):
            raise DataError(str(path), "is a binary file of KenLM", "an ARPA file", "give the one it was built from")
        if start == MAGIC.encode():
            return NgramModel.parse(read_text(path, "an n-gram model", REMEDY), str(path))
    return NgramModel.of(read_arpa(path, progress))


def parse_lm(text: str, where: str) -> NgramModel:
    """The same of a file's content; ``where`` starts the error lines."""
    return NgramModel.parse(text, where) if text.startswith(MAGIC) else NgramModel.of(parse_arpa(text, where))


def _by_frequency(table: NgramTable) -> NgramTable:
    """The same model with other ids: small ones for words that end many n-grams."""
    ends = sum(np.bincount(order.word, minlength=len(table.words)) for order in table.orders)
    by_rank = np.argsort(-ends, kind="stable")
    new_ids = np.argsort(by_rank)
    orders, rows = [], new_ids[:0]  # where the rows of the order before went
    for n, order in enumerate(table.orders):
        context = rows[order.context] if n else order.context
        word = new_ids[order.word]
        places = np.argsort(context * len(table.words) + word)
        rows = np.argsort(places)
        orders.append(Order(context[places], word[places], order.log_prob[places], order.log_backoff[places]))
    return NgramTable(tuple([table.words[number] for number in by_rank]), tuple(orders))


def _keys(words: Array, children: Array, vocabulary: int) -> Array:
    """``NgramModel.keys`` of the last words (G,) of all nodes but 0, and of the numbers of children (1 + C,)."""
    keys = np.full(len(words) + 1, np.iinfo(np.int64).max)
    end = 0
    for context in range(0, len(children), _PIECE):
        counts = children[context : context + _PIECE].astype(np.int64)
        begin, end = end, end + int(counts.sum())
        keys[begin:end] = np.arange(context, context + len(counts)).repeat(counts)
    keys[:-1] *= vocabulary
    keys[:-1] += words
    return keys


def _planes(array: Array) -> Array:
    """Numbers of several bytes as their first bytes, then their second ones, and so on: alike ones lie together."""
    size = array.dtype.itemsize
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1, size).T.ravel()


def _listed_suffixes(table: NgramTable, grams: Array, starts: Array) -> Array:
    """The nodes (N,) of n-grams (N, n), or of what is listed of their ends; 0 for none."""
    if grams.shape[1] == 0:
        return np.zeros(len(grams), np.int64)
    rows = table.find(grams)
    nodes = rows + starts[grams.shape[1] - 1]
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        nodes[missing] = _listed_suffixes(table, grams[missing, 1:], starts)
    return np.asarray(nodes)


def _binned(values: Array) -> Array:
    """Values (N,) float32 -> at most 255 different ones, and 0."""
    distinct = np.unique(values[values != 0])
    if len(distinct) <= _BINS:
        return values
    ranked = np.sort(values[values != 0])
    edges = np.linspace(0, len(ranked), _BINS + 1).astype(np.int64)
    book = np.unique(ranked[(edges[:-1] + edges[1:]) // 2])
    nearest = np.searchsorted((book[1:] + book[:-1]) / 2, values)
    return np.where(values != 0, book[nearest], np.float32(0))


def _coded(values: Array) -> tuple[Array, Array]:
    """(book, codes): of up to 65536 different values each is a number in the book; else no book, and the values."""
    book, codes = np.unique(values, return_inverse=True)
    codes = codes.astype(np.uint8 if len(book) <= 1 << 8 else np.uint16)
    if len(book) > 1 << 16 or book.nbytes + codes.nbytes >= values.nbytes:
        return book[:0], values
    return book, codes


def _next(arrays: Iterator[Array]) -> Array:
    array = next(arrays, None)
    if array is None:
        raise ValueError("fewer arrays than columns")
    return array


def _unpacked(text: str, start: int, shapes: list[tuple[str, int]]) -> Iterator[Array]:
    """One array after another, of a text from ``start`` on. Raises ValueError unless the bytes are those of the arrays,
    all numbers or codes."""
    if any(not isinstance(name, str) or len(name) != 3 for name, _ in shapes):  # such as <u2
        raise ValueError("no such arrays")
    types = [np.dtype(name) for name, _ in shapes]
    total = sum(kind.itemsize * size for kind, (_, size) in zip(types, shapes, strict=True))
    if total > LARGEST or any(kind.kind not in "uif" for kind in types):
        raise ValueError("no such arrays")
    blocks = _Blocks(text, start)
    for kind, (_, size) in zip(types, shapes, strict=True):
        planes = np.frombuffer(blocks.read(kind.itemsize * size), np.uint8).reshape(kind.itemsize, size)
        yield np.ascontiguousarray(planes.T).view(kind).ravel()
    blocks.require_end()


class _Blocks:
    """Bytes packed with zlib and written in base64, unpacked block after block."""

    size = 1 << 18  # of a block, in characters; four of them are three bytes

    def __init__(self, text: str, start: int) -> None:
        self._text, self._place, self._end = text, start, len(text)
        while text[self._end - 1] == "\n":
            self._end -= 1
        self._unpacker, self._rest = zlib.decompressobj(), b""

    def read(self, size: int) -> bytearray:
        """The next bytes. Raises ValueError if there are fewer."""
        found, place = bytearray(size), 0
        while place < size:
            part = self._next(size - place)
            found[place : place + len(part)] = part
            place += len(part)
        return found

    def require_end(self) -> None:
        """Raises ValueError if there are more bytes, or not the sum that zlib checks."""
        while not self._unpacker.eof:
            if self._next(1):
                raise ValueError("more bytes than the header says")
        if self._place < self._end or self._unpacker.unused_data:
            raise ValueError("more than the packed bytes")

    def _next(self, most: int) -> bytes:
        if not self._rest and not self._unpacker.eof:
            end = min(self._place + self.size, self._end)
            self._rest = base64.b64decode(self._text[self._place : end], validate=True)
            self._place = end
        if not self._rest:
            raise ValueError("fewer bytes than the header says")
        part = self._unpacker.decompress(self._rest, most)
        self._rest = self._unpacker.unconsumed_tail
        return part
