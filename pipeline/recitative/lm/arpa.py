"""Backoff n-gram models as tables of n-grams, their perplexity, and ARPA files; a decoder queries ``lm.ngram``.

    P(w | h) = p(h w) if the n-gram is listed, else b(h) P(w | h without its first word)

with b(h) = 1 where h is not listed (Katz, IEEE Trans. ASSP 35(3), 1987). ARPA files are the exchange format of these
models (SRILM's ngram-format(5), KenLM, Kaldi), plain or gzipped:

    \\data\\                  text may precede it, as in MIT's and CMU's tools
    ngram 1=3               for each order, the number of n-grams; an empty line ends this and every section, which
                            some tools omit

    \\1-grams:
    -0.5 word -0.3          log10 probability, words, log10 backoff (not in the highest order; may be omitted if 0)

    \\end\\

The probability of ``<s>`` is ``NEVER``, whatever the file says (SRILM writes -99, KenLM 0): it is never needed. A
file without ``<unk>`` gets one of log10 probability -100, as in KenLM: an unknown word is possible, and worse than any
other.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
import math
import re
from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recitative.atomic import write_bytes
from recitative.errors import DataError, counted
from recitative.reading import read_lines
from recitative.stage import Mask

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNKNOWN = "<unk>"  # any word that is not in the vocabulary
BEGIN = "<s>"  # start of a sentence; never predicted
END = "</s>"
MARKS = (UNKNOWN, BEGIN, END)

LN_10 = float(np.log(10.0))
NEVER = -99 * LN_10  # ln P(<s>), which is never needed: SRILM's log10 of zero
_NO_KEY = np.iinfo(np.int64).max
_NO_MASS = 1e-12  # probability below which a sum differs from one by rounding only

State = Hashable
"""What a model remembers of the words so far; equal states have equal futures."""


class LanguageModel(Protocol):
    """P(words) as a state machine, n-gram or recurrent; natural logarithms."""

    def start(self) -> State:
        """The state after ``<s>``."""
        ...

    def score(self, state: State, word: str) -> tuple[float, State]:
        """ln P(word | state), and the next state. Marks (``<s>``, ``</s>``, ``<unk>``) count as unknown words."""
        ...

    def finish(self, state: State) -> float:
        """ln P(</s> | state)."""
        ...

    def knows(self, word: str) -> bool:
        """False: ``score`` returns the probability of ``<unk>``, or a floor that the model documents."""
        ...


@dataclass(frozen=True, eq=False)
class Order:
    """All n-grams of one length, (G,) each."""

    context: Ints  # row of the first n - 1 words in the order below; 0 for unigrams
    word: Ints  # id of the last word
    log_prob: Floats  # ln P(word | context)
    log_backoff: Floats  # ln b(n-gram); 0 in the highest order

    def __len__(self) -> int:
        return len(self.word)


@dataclass(frozen=True, eq=False)
class NgramTable:
    """The n-grams of a model as sorted arrays; estimation, pruning, mixing and ARPA files use this form.

    ``words[i]`` is the word with id i, marks included; ``orders[n - 1]`` holds the n-grams of length n. An n-gram
    refers to its context by the context's row in the order below, so the number ``context * V + word`` identifies it;
    rows are sorted by that number and found by bisection. Every word is a unigram, in row i, and the context of every
    listed n-gram is listed too.
    """

    words: tuple[str, ...]
    orders: tuple[Order, ...]

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def grams(self) -> tuple[Ints, ...]:
        """For each order, the word ids (G, n)."""
        found = [self.orders[0].word[:, None]]
        for order in self.orders[1:]:
            found.append(np.column_stack([found[-1][order.context], order.word]))
        return tuple(found)

    @cached_property
    def _keys(self) -> tuple[Ints, ...]:
        """Sorted, with a sentinel at the end, so that the place where a search ends is always valid."""
        return tuple(np.append(order.context * len(self.words) + order.word, _NO_KEY) for order in self.orders)

    def find(self, grams: Ints) -> Ints:
        """Ids (N, n) -> rows (N,), -1 for n-grams that are not listed."""
        rows = grams[:, 0]
        for column, keys in zip(grams.T[1:], self._keys[1:], strict=False):
            wanted = np.where(rows >= 0, rows * len(self.words) + column, -1)
            places = np.searchsorted(keys, wanted)
            rows = np.where(keys[places] == wanted, places, -1)
        return rows

    def log_probs(self, grams: Ints) -> Floats:
        """Ids (N, n) -> ln P(last word | those before it) (N,); n is at most the order of the model."""
        n = grams.shape[1]
        rows = self.find(grams)
        result = np.append(self.orders[n - 1].log_prob, 0.0)[rows]  # row -1 is the appended one: not listed
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            contexts = self.find(grams[missing, :-1])
            backoffs = np.append(self.orders[n - 2].log_backoff, 0.0)[contexts]
            result[missing] = backoffs + self.log_probs(grams[missing, 1:])
        return result

    def select(self, keeps: Sequence[Mask]) -> NgramTable:
        """The rows where ``keeps``, a mask (G,) for each order, is true; n-grams whose context is removed go too.

        Backoffs are not changed. Unigrams are all kept, whatever their mask says.
        """
        orders = [self.orders[0]]
        kept = np.ones(len(self.words), np.bool_)
        for order, keep in zip(self.orders[1:], keeps[1:], strict=True):
            new_rows = np.cumsum(kept) - 1
            kept = keep & kept[order.context]
            orders.append(
                Order(new_rows[order.context[kept]], order.word[kept], order.log_prob[kept], order.log_backoff[kept])
            )
        return NgramTable(self.words, tuple(orders))

    def with_backoffs(self) -> NgramTable:
        """The same probabilities, with the backoffs that make the sum over every context one (``left_over``)."""
        table = NgramTable(self.words, self.orders[:1])
        for number, order in enumerate(self.orders[1:], start=1):
            table = NgramTable(self.words, (*table.orders, order))
            explicit, lower = table.left_over(number + 1)
            sound = (explicit > _NO_MASS) | (lower > _NO_MASS)  # otherwise every word is listed: nothing backs off
            ratio = np.maximum(explicit, _NO_MASS) / np.maximum(lower, _NO_MASS)
            below = replace(table.orders[-2], log_backoff=np.where(sound, np.log(ratio), 0.0))
            table = NgramTable(self.words, (*table.orders[:-2], below, order))
        highest = replace(table.orders[-1], log_backoff=np.zeros(len(table.orders[-1])))
        return NgramTable(self.words, (*table.orders[:-1], highest))

    def left_over(self, n: int) -> tuple[Floats, Floats]:
        """1 - sum of P(w | h) and 1 - sum of P(w | h without its first word), over the w listed after h.

        Both (G,) over the contexts h, the (n - 1)-grams. Their ratio is the backoff of h.
        """
        order, contexts = self.orders[n - 1], len(self.orders[n - 2])
        shorter = self.log_probs(self.grams[n - 1][:, 1:])
        sums = (np.bincount(order.context, np.exp(logs), contexts) for logs in (order.log_prob, shorter))
        listed, backed_off = (np.asarray(1.0 - each, np.float64) for each in sums)
        return listed, backed_off


@dataclass(frozen=True)
class Perplexity:
    """exp(- sum of ln P / symbols), over all words and the ``</s>`` of every sentence.

    Unknown words are counted in ``with_unknown``, at the probability that the model gives to ``<unk>``, and left out of
    ``without_unknown``, where they only remain in the histories (KenLM's perplexity "including" and "excluding OOVs";
    the second is SRILM's ppl). The fields are sums, so results of several texts can be added.
    """

    log_prob: float = 0.0  # sum of ln P of all words and sentence ends
    unknown_log_prob: float = 0.0  # the part of it that belongs to unknown words
    words: int = 0  # including unknown ones
    unknown: int = 0
    sentences: int = 0

    @property
    def with_unknown(self) -> float:
        """Perplexity of everything; 1 for an empty text."""
        return _perplexity(self.log_prob, self.words + self.sentences)

    @property
    def without_unknown(self) -> float:
        """Perplexity of the known words and the sentence ends."""
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
        counts = f"{counted(self.words, 'word')}, {counted(self.sentences, 'sentence')}, {self.unknown} unknown"
        return f"perplexity {self.with_unknown:.2f}{without}, {counts}, ln P {self.log_prob:.2f}"


def measure(model: LanguageModel, lines: Iterable[str]) -> Perplexity:
    """Perplexity of sentences, one a line, words separated by blanks."""
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


UNKNOWN_FLOOR = -100 * LN_10  # ln P(<unk>) of a file that doesn't list it
_REMEDY = "restore it from its source, or make it again with 'recitative lm train'"
_ROWS_BETWEEN_REPORTS = 50_000


def read_arpa(path: str | Path, progress: Callable[[int, int], object] = lambda done, total: None) -> NgramTable:
    """Read a model; ``progress(n-grams read, total)`` is called from time to time.

    Raises DataError that names the line: a count that differs from the header's, a row that isn't a number, n words and
    a number, a probability above one, a word or context that isn't listed, an n-gram listed twice, a word that isn't
    UTF-8, a file that ends early, and a model without ``<s>`` or ``</s>``.
    """
    return _Reader(path, read_lines(path, "an ARPA file", _REMEDY)).table(progress)


def parse_arpa(text: str, where: str) -> NgramTable:
    """The same from a file's content; ``where`` begins the error lines."""
    return _Reader(where, text.encode("utf-8").splitlines()).table(lambda done, total: None)


def write_arpa(path: str | Path, table: NgramTable) -> None:
    """Write a model, gzipped if the name ends in .gz; atomic. Numbers have seven digits, as many as KenLM keeps."""
    content = arpa_text(table).encode("utf-8")
    write_bytes(path, gzip.compress(content, 6, mtime=0) if str(path).endswith(".gz") else content)


def arpa_text(table: NgramTable) -> str:
    """The content of the file that ``write_arpa`` writes and ``read_arpa`` reads."""
    parts = ["\\data\\\n", *(f"ngram {n}={len(order)}\n" for n, order in enumerate(table.orders, start=1))]
    for n, (order, grams) in enumerate(zip(table.orders, table.grams, strict=True), start=1):
        parts.append(f"\n\\{n}-grams:\n")
        log_probs = (order.log_prob / LN_10 + 0.0).tolist()  # + 0.0 makes 0 of -0
        backoffs = (order.log_backoff / LN_10 + 0.0).tolist()
        for ids, log_prob, backoff in zip(grams.tolist(), log_probs, backoffs, strict=True):
            words = " ".join([table.words[number] for number in ids])
            last = f"\t{backoff:.7g}" if n < len(table.orders) else ""
            parts.append(f"{log_prob:.7g}\t{words}{last}\n")
    return "".join([*parts, "\n\\end\\\n"])


class _Section(NamedTuple):
    """The n-grams of one order, in the order of the file: the first one is in line ``first_line``, and so on."""

    first_line: int
    grams: Ints  # (G, n) ids
    log_prob: Floats  # (G,), natural
    log_backoff: Floats  # (G,), natural


class _Reader:
    """Reads a model from lines, without surrounding blanks; ``number`` is that of the last line, from 1."""

    def __init__(self, path: str | Path, lines: Iterable[bytes]) -> None:
        self.path = path
        self.number = 0
        self.words: list[str] = []
        self._ids: dict[bytes, int] = {}
        source = iter(lines)
        first = (line.removeprefix(codecs.BOM_UTF8).strip() for line in itertools.islice(source, 1))
        self._lines = itertools.chain(first, (line.strip() for line in source))

    def table(self, progress: Callable[[int, int], object]) -> NgramTable:
        counts = self._counts()
        table = self._unigrams(self._section(1, counts, progress))
        for n in range(2, len(counts) + 1):
            table = self._with_order(table, self._section(n, counts, progress))
        line = self._next_text()
        if line != b"\\end\\":
            raise self._error(f"'{_shown(line)}'", f"'\\end\\' after the {len(counts)} sections that the header names")
        for _ in self._lines:  # what follows the model is ignored; but a gzipped file is verified only at its end
            self.number += 1
        return table

    def _error(self, found: str, allowed: str = "", line: int | None = None) -> DataError:
        """An error about a line, by default the last one."""
        return DataError(f"{self.path}:{self.number if line is None else line}", found, allowed, _REMEDY)

    def _next(self) -> bytes:
        """The next line. Raises DataError at the end of the file."""
        line = next(self._lines, None)
        if line is None:
            raise self._error("the file ends here", "'\\end\\' in the last line")
        self.number += 1
        return line

    def _next_text(self) -> bytes:
        """The next line that isn't empty."""
        while not (line := self._next()):
            pass
        return line

    def _put_back(self, line: bytes) -> None:
        """Make the last line the next one again."""
        self.number -= 1
        self._lines = itertools.chain([line], self._lines)

    def _counts(self) -> list[int]:
        """The header: how many n-grams there are of each order. Text may precede it."""
        first = line = self._next_text()
        while line != b"\\data\\":
            following = next(self._lines, None)
            if following is None:
                raise self._error(f"'{_shown(first)}'", "an ARPA file, which has the line '\\data\\'", 1)
            self.number += 1
            line = following
        counts: list[int] = []
        while (line := self._next()) and not line.endswith(b"-grams:"):
            match = re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line)
            if not match or int(match[1]) != len(counts) + 1:
                raise self._error(f"'{_shown(line)}'", f"'ngram {len(counts) + 1}=COUNT'")
            counts.append(int(match[2]))
        if not counts:
            raise self._error("the header names no n-grams", "'ngram 1=COUNT' and so on")
        if line:
            self._put_back(line)
        return counts

    def _section(self, n: int, counts: list[int], progress: Callable[[int, int], object]) -> _Section:
        """The n-grams of length n, with or without an empty line after them."""
        title = self._next_text()
        if title != f"\\{n}-grams:".encode():
            raise self._error(f"'{_shown(title)}'", f"'\\{n}-grams:'")
        first_line, count, before, total = self.number + 1, counts[n - 1], sum(counts[: n - 1]), sum(counts)
        widths = (n + 1,) if n == len(counts) else (n + 1, n + 2)
        grams, log_probs, log_backoffs = array("q"), array("d"), array("d")
        for row in range(count):
            line = self._next()
            if not line or line.startswith(b"\\"):
                raise self._error(f"the section ends after {row} {n}-grams", f"{count}, as the header says")
            fields = line.split()  # bytes are split at ASCII blanks only: others may be part of a word
            try:
                if len(fields) not in widths:
                    raise ValueError("fields")
                if n == 1:
                    self._add_word(fields[1])
                grams.extend([self._ids[word] for word in fields[1 : n + 1]])
                log_probs.append(float(fields[0]))
                log_backoffs.append(float(fields[n + 1]) if len(fields) == n + 2 else 0.0)
            except KeyError as error:
                raise self._error(f"'{_shown(error.args[0])}' is not among the 1-grams", "words that are") from None
            except ValueError:
                form = f"a log10 probability, {'word' if n == 1 else f'{n} words'}"
                backoff = ", and perhaps a log10 backoff" if len(widths) > 1 else ""
                raise self._error(f"'{_shown(line)}'", form + backoff) from None
            if row % _ROWS_BETWEEN_REPORTS == 0:
                progress(before + row, total)
        line = self._next_text()
        if not line.startswith(b"\\"):
            allowed = "an empty line: the header says there are no more"
            raise self._error(f"'{_shown(line)}' after {count} {n}-grams", allowed)
        self._put_back(line)
        log_prob, log_backoff = (np.array(values) * LN_10 for values in (log_probs, log_backoffs))
        log_prob[np.isneginf(log_prob)] = log_backoff[np.isneginf(log_backoff)] = NEVER
        section = _Section(first_line, np.array(grams, np.int64).reshape(count, n), log_prob, log_backoff)
        self._require(section, log_prob <= 0, "has a log10 probability above 0", "at most 0")
        finite = np.isfinite(log_prob) & np.isfinite(log_backoff)
        self._require(section, finite, "has no finite logarithms", "numbers")
        return section

    def _add_word(self, word: bytes) -> None:
        if word in self._ids:
            raise self._error(f"'{_shown(word)}' is listed twice", "every n-gram once")
        self._ids[word] = len(self.words)
        try:
            self.words.append(word.decode("utf-8"))
        except UnicodeDecodeError:
            raise self._error(f"'{_shown(word)}' is not UTF-8", "UTF-8") from None

    def _require(self, section: _Section, fine: Mask, found: str, allowed: str) -> None:
        """Raises DataError that names the first row (G,) that isn't fine."""
        if not fine.all():
            row = int(np.argmin(fine))
            words = " ".join(self.words[number] for number in section.grams[row])
            raise self._error(f"'{words}' {found}", allowed, section.first_line + row)

    def _unigrams(self, section: _Section) -> NgramTable:
        """Ids are those of the section; ``<unk>`` is appended if the file lacks it."""
        if missing := {BEGIN, END}.difference(self.words):
            found = f"has no '{min(missing)}' among its 1-grams"
            raise DataError(str(self.path), found, "a model of sentences", _REMEDY)
        words = tuple(self.words) if UNKNOWN in self.words else (*self.words, UNKNOWN)
        added = len(words) - len(self.words)
        log_prob = np.append(section.log_prob, [UNKNOWN_FLOOR] * added)
        log_prob[words.index(BEGIN)] = NEVER
        contexts = np.zeros(len(words), np.int64)
        order = Order(contexts, np.arange(len(words)), log_prob, np.append(section.log_backoff, [0.0] * added))
        return NgramTable(words, (order,))

    def _with_order(self, table: NgramTable, section: _Section) -> NgramTable:
        """The table with one order more, sorted."""
        contexts = table.find(section.grams[:, :-1])
        n = section.grams.shape[1]
        found = f"has a context that is not among the {n - 1}-grams"
        self._require(section, contexts >= 0, found, "contexts that are")
        keys = contexts * len(table.words) + section.grams[:, -1]
        places = np.argsort(keys, kind="stable")
        fine = np.ones(len(keys), np.bool_)
        fine[places[1:]] = keys[places[1:]] != keys[places[:-1]]
        self._require(section, fine, "is listed twice", "every n-gram once")
        log_prob, log_backoff = section.log_prob[places], section.log_backoff[places]
        order = Order(contexts[places], section.grams[places, -1], log_prob, log_backoff)
        return NgramTable(table.words, (*table.orders, order))


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace")
    return text if len(text) <= 60 else f"{text[:57]}..."
