"""ARPA files, the exchange format of backoff n-gram models (SRILM's ngram-format(5), KenLM, Kaldi), plain or gzipped.

    \\data\\                  text may precede it, as in MIT's and CMU's tools
    ngram 1=3               for each order, the number of n-grams; an empty line ends this and every section, which
                            some tools omit

    \\1-grams:
    -0.5 word -0.3          log10 probability, words, log10 backoff (not in the highest order; may be omitted if 0)

    \\end\\

The probability of ``<s>`` is ``NEVER``, whatever the file says (SRILM writes -99, KenLM 0): it is never asked for. A
file without ``<unk>`` gets one of log10 probability -100, as in KenLM: an unknown word is possible, and worse than any
other.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from recitative.atomic import write_bytes
from recitative.errors import DataError
from recitative.lm.query import BEGIN, END, LN_10, NEVER, UNKNOWN, Floats, Ints, NgramTable, Order
from recitative.reading import read_lines
from recitative.stage import Mask

UNKNOWN_FLOOR = -100 * LN_10  # ln P(<unk>) of a file that doesn't list it
_REMEDY = "restore it from its source, or make it again with 'recitative lm train'"
_ROWS_BETWEEN_REPORTS = 50_000


def read_arpa(path: str | Path, progress: Callable[[int, int], object] = lambda done, total: None) -> NgramTable:
    """Read a model; ``progress(n-grams read, total)`` is called from time to time.

    Raises DataError that names the line: a count that differs from the header's, a row that isn't a number, n words and
    a number, a probability above one, a word or context that isn't listed, an n-gram listed twice, a word that isn't
    UTF-8, a file that ends early, and a model without ``<s>`` or ``</s>``.
    """
    return _read(_Lines(path), progress)


def parse_arpa(text: str, where: str) -> NgramTable:
    """The same from a file's content; ``where`` begins the error lines."""
    return _read(_Lines(where, text.encode("utf-8")), lambda done, total: None)


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


def _read(lines: _Lines, progress: Callable[[int, int], object]) -> NgramTable:
    counts = _read_counts(lines)
    table = NgramTable((), ())
    for n, count in enumerate(counts, start=1):
        report = partial(_report, progress, sum(counts[: n - 1]), sum(counts))
        section = _read_section(lines, n, count, n == len(counts), table.words, report)
        table = _unigram_table(section) if n == 1 else _with_order(table, section)
    line = lines.next_text()
    if line != b"\\end\\":
        raise lines.error(f"'{_shown(line)}'", f"'\\end\\' after the {len(counts)} sections that the header names")
    lines.finish()
    return table


def _report(progress: Callable[[int, int], object], before: int, total: int, rows: int) -> None:
    progress(before + rows, total)


class _Lines:
    """The lines of a file, plain or gzipped, without surrounding blanks; ``number`` is that of the last one, from 1.

    ``content`` is read instead of a file, if given; ``path`` then only names it.
    """

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        self.path = path
        self.number = 0
        lines = read_lines(path, "an ARPA file", _REMEDY) if content is None else iter(content.splitlines())
        self._lines = itertools.chain(
            (line.removeprefix(codecs.BOM_UTF8).strip() for line in itertools.islice(lines, 1)),
            (line.strip() for line in lines),
        )

    def next(self) -> bytes:
        """The next line. Raises DataError at the end of the file."""
        line = next(self._lines, None)
        if line is None:
            raise self.error("the file ends here", "'\\end\\' in the last line")
        self.number += 1
        return line

    def next_text(self) -> bytes:
        """The next line that isn't empty."""
        while not (line := self.next()):
            pass
        return line

    def skip_to_data(self) -> None:
        """Text before ``\\data\\`` is free: tools write their name and options there."""
        first = line = self.next_text()
        while line != b"\\data\\":
            following = next(self._lines, None)
            if following is None:
                self.number = 1
                raise self.error(f"'{_shown(first)}'", "an ARPA file, which has the line '\\data\\'")
            self.number += 1
            line = following

    def put_back(self, line: bytes) -> None:
        """Make the last line the next one again."""
        self.number -= 1
        self._lines = itertools.chain([line], self._lines)

    def finish(self) -> None:
        """Read what follows the model, which is ignored: a gzipped file is verified only at its end."""
        for _ in self._lines:
            self.number += 1

    def error(self, found: str, allowed: str = "", line: int | None = None) -> DataError:
        """An error about a line, by default the last one."""
        return DataError(f"{self.path}:{self.number if line is None else line}", found, allowed, _REMEDY)


def _read_counts(lines: _Lines) -> list[int]:
    lines.skip_to_data()
    counts: list[int] = []
    while (line := lines.next()) and not line.endswith(b"-grams:"):
        match = re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line)
        if not match or int(match[1]) != len(counts) + 1:
            raise lines.error(f"'{_shown(line)}'", f"'ngram {len(counts) + 1}=COUNT'")
        counts.append(int(match[2]))
    if not counts:
        raise lines.error("the header names no n-grams", "'ngram 1=COUNT' and so on")
    if line:
        lines.put_back(line)
    return counts


@dataclass(frozen=True)
class _Section:
    """The n-grams of one order, in the order of the file: the first one is in line ``first_line``, and so on."""

    lines: _Lines
    first_line: int
    words: tuple[str, ...]  # all words of the file
    grams: Ints  # (G, n) ids
    log_prob: Floats  # (G,), natural
    log_backoff: Floats  # (G,), natural

    def require(self, fine: Mask, found: str, allowed: str) -> None:
        """Raises DataError that names the first row (G,) that isn't fine."""
        if not fine.all():
            row = int(np.argmin(fine))
            words = " ".join(self.words[number] for number in self.grams[row])
            raise self.lines.error(f"'{words}' {found}", allowed, self.first_line + row)


def _read_section(
    lines: _Lines, n: int, count: int, highest: bool, words: tuple[str, ...], report: Callable[[int], object]
) -> _Section:
    """The ``count`` n-grams of length n, with or without an empty line after them.

    words: the unigrams, if n > 1. ``report(rows read)`` is called from time to time.
    """
    title = lines.next_text()
    if title != f"\\{n}-grams:".encode():
        raise lines.error(f"'{_shown(title)}'", f"'\\{n}-grams:'")
    first_line = lines.number + 1
    rows = _Rows(lines, n, highest, words)
    for row in range(count):
        line = lines.next()
        if not line or line.startswith(b"\\"):
            raise lines.error(f"the section ends after {row} {n}-grams", f"{count}, as the header says")
        rows.add(line)
        if row % _ROWS_BETWEEN_REPORTS == 0:
            report(row)
    line = lines.next_text()
    if not line.startswith(b"\\"):
        raise lines.error(
            f"'{_shown(line)}' after {count} {n}-grams", "an empty line: the header says there are no more"
        )
    lines.put_back(line)
    return rows.section(first_line)


class _Rows:
    """Collects the lines of one section."""

    def __init__(self, lines: _Lines, n: int, highest: bool, words: Sequence[str]) -> None:
        self._lines, self._n, self._words = lines, n, list(words)
        self._widths = (n + 1,) if highest else (n + 1, n + 2)
        self._ids = {word.encode(): number for number, word in enumerate(words)}
        self._grams, self._log_probs, self._backoffs = array("q"), array("d"), array("d")

    def add(self, line: bytes) -> None:
        """Raises DataError unless the line is a number, n words that are unigrams, and perhaps a number."""
        n, fields = self._n, line.split()  # bytes are split at ASCII blanks only: others may be part of a word
        if len(fields) not in self._widths:
            raise self._form_error(line)
        if n == 1:
            self._add_word(fields[1])
        try:
            self._grams.extend([self._ids[word] for word in fields[1 : n + 1]])
            self._log_probs.append(float(fields[0]))
            self._backoffs.append(float(fields[n + 1]) if len(fields) == n + 2 else 0.0)
        except KeyError as error:
            raise self._lines.error(f"'{_shown(error.args[0])}' is not among the 1-grams", "words that are") from None
        except ValueError:
            raise self._form_error(line) from None

    def section(self, first_line: int) -> _Section:
        """Raises DataError for numbers that are no probability or backoff."""
        log_prob = np.array(self._log_probs) * LN_10
        log_backoff = np.array(self._backoffs) * LN_10
        grams = np.array(self._grams, np.int64).reshape(len(log_prob), self._n)
        section = _Section(self._lines, first_line, tuple(self._words), grams, log_prob, log_backoff)
        log_prob[np.isneginf(log_prob)] = log_backoff[np.isneginf(log_backoff)] = NEVER
        section.require(log_prob <= 0, "has a log10 probability above 0", "at most 0")
        section.require(np.isfinite(log_prob) & np.isfinite(log_backoff), "has no finite logarithms", "numbers")
        return section

    def _add_word(self, word: bytes) -> None:
        if word in self._ids:
            raise self._lines.error(f"'{_shown(word)}' is listed twice", "every n-gram once")
        self._ids[word] = len(self._words)
        try:
            self._words.append(word.decode("utf-8"))
        except UnicodeDecodeError:
            raise self._lines.error(f"'{_shown(word)}' is not UTF-8", "UTF-8") from None

    def _form_error(self, line: bytes) -> DataError:
        words = "word" if self._n == 1 else f"{self._n} words"
        backoff = ", and perhaps a log10 backoff" if len(self._widths) > 1 else ""
        return self._lines.error(f"'{_shown(line)}'", f"a log10 probability, {words}{backoff}")


def _unigram_table(section: _Section) -> NgramTable:
    """Ids are those of the section; ``<unk>`` is appended if the file lacks it."""
    missing = {BEGIN, END}.difference(section.words)
    if missing:
        found = f"has no '{min(missing)}' among its 1-grams"
        raise DataError(str(section.lines.path), found, "a model of sentences", _REMEDY)
    words = section.words if UNKNOWN in section.words else (*section.words, UNKNOWN)
    added = len(words) - len(section.words)
    log_prob = np.append(section.log_prob, [UNKNOWN_FLOOR] * added)
    log_prob[words.index(BEGIN)] = NEVER
    contexts = np.zeros(len(words), np.int64)
    order = Order(contexts, np.arange(len(words)), log_prob, np.append(section.log_backoff, [0.0] * added))
    return NgramTable(words, (order,))


def _with_order(table: NgramTable, section: _Section) -> NgramTable:
    """The table with one order more, sorted."""
    contexts = table.find(section.grams[:, :-1])
    n = section.grams.shape[1]
    section.require(contexts >= 0, f"has a context that is not among the {n - 1}-grams", "contexts that are")
    keys = contexts * len(table.words) + section.grams[:, -1]
    places = np.argsort(keys, kind="stable")
    fine = np.ones(len(keys), np.bool_)
    fine[places[1:]] = keys[places[1:]] != keys[places[:-1]]
    section.require(fine, "is listed twice", "every n-gram once")
    order = Order(contexts[places], section.grams[places, -1], section.log_prob[places], section.log_backoff[places])
    return NgramTable(table.words, (*table.orders, order))


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace")
    return text if len(text) <= 60 else f"{text[:57]}..."
