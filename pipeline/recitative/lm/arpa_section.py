"""The parts of an ARPA file: its lines, and the section of one order."""

from __future__ import annotations

import codecs
import itertools
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recitative.errors import DataError
from recitative.lm.table import LN_10, NEVER, Floats, Ints, Mask
from recitative.reading import read_lines

REMEDY = "restore it from its source, or make it again with 'recitative lm train'"
_ROWS_BETWEEN_REPORTS = 50_000


class ArpaFile:
    """The lines of a file, plain or gzipped, without blanks around them; ``number`` is that of the last one, from 1.

    ``content`` is what is read if the file is not on disk; ``path`` then only names it.
    """

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        self.path = path
        self.number = 0
        lines = self._read() if content is None else iter(content.splitlines())
        self._lines = itertools.chain(
            (line.removeprefix(codecs.BOM_UTF8).strip() for line in itertools.islice(lines, 1)),
            (line.strip() for line in lines),
        )

    def next(self) -> bytes:
        """The next line. Raises DataError if there is none: a reader knows when it is done."""
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

    def next_before_data(self, first: bytes) -> bytes:
        """The next line, of a file that has begun with ``first`` and is not known to be an ARPA file yet."""
        line = next(self._lines, None)
        if line is None:
            self.number = 1
            raise self.error(f"'{shown(first)}'", "an ARPA file, which has the line '\\data\\'")
        self.number += 1
        return line

    def put_back(self, line: bytes) -> None:
        """The last line is the next one again."""
        self.number -= 1
        self._lines = itertools.chain([line], self._lines)

    def finish(self) -> None:
        """Read what follows the model, which is nobody's: only at the end does a packed file prove to be sound."""
        for _ in self._lines:
            self.number += 1

    def error(self, found: str, allowed: str = "", line: int | None = None) -> DataError:
        """What is wrong with a line, the last one unless another is named."""
        return DataError(f"{self.path}:{self.number if line is None else line}", found, allowed, REMEDY)

    def _read(self) -> Iterator[bytes]:
        return read_lines(self.path, "an ARPA file", REMEDY)


@dataclass(frozen=True)
class Section:
    """The n-grams of one order in the order of the file: the first one is in line ``first_line``, and so on."""

    file: ArpaFile
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
            raise self.file.error(f"'{words}' {found}", allowed, self.first_line + row)


class Rows:
    """Collects the lines of one section."""

    def __init__(self, file: ArpaFile, n: int, highest: bool, words: tuple[str, ...]) -> None:
        self._file, self._n, self._words = file, n, list(words)
        self._widths = (n + 1,) if highest else (n + 1, n + 2)
        self._ids = {word.encode(): number for number, word in enumerate(words)}
        self._grams, self._log_probs, self._backoffs = array("q"), array("d"), array("d")

    def add(self, line: bytes) -> None:
        """Raises DataError unless the line is a number, n words that are unigrams, and perhaps a number."""
        n, fields = self._n, line.split()  # bytes are split at ASCII blanks only: others may be part of a word
        if len(fields) not in self._widths:
            raise self._file.error(f"'{shown(line)}'", self._form())
        if n == 1:
            self._add_word(fields[1])
        try:
            self._grams.extend([self._ids[word] for word in fields[1 : n + 1]])
            self._log_probs.append(float(fields[0]))
            self._backoffs.append(float(fields[n + 1]) if len(fields) == n + 2 else 0.0)
        except KeyError as error:
            raise self._file.error(f"'{shown(error.args[0])}' is not among the 1-grams", "words that are") from None
        except ValueError:
            raise self._file.error(f"'{shown(line)}'", self._form()) from None

    def section(self, first_line: int) -> Section:
        """Raises DataError for a number that no probability or backoff has."""
        log_prob = np.array(self._log_probs) * LN_10
        log_backoff = np.array(self._backoffs) * LN_10
        grams = np.array(self._grams, np.int64).reshape(len(log_prob), self._n)
        section = Section(self._file, first_line, tuple(self._words), grams, log_prob, log_backoff)
        log_prob[np.isneginf(log_prob)] = log_backoff[np.isneginf(log_backoff)] = NEVER
        section.require(log_prob <= 0, "has a log10 probability above 0", "at most 0")
        section.require(np.isfinite(log_prob) & np.isfinite(log_backoff), "has no finite logarithms", "numbers")
        return section

    def _add_word(self, word: bytes) -> None:
        if word in self._ids:
            raise self._file.error(f"'{shown(word)}' is listed twice", "every n-gram once")
        self._ids[word] = len(self._words)
        try:
            self._words.append(word.decode("utf-8"))
        except UnicodeDecodeError:
            raise self._file.error(f"'{shown(word)}' is not UTF-8", "UTF-8") from None

    def _form(self) -> str:
        words = "word" if self._n == 1 else f"{self._n} words"
        return f"a log10 probability, {words}" + (", and perhaps a log10 backoff" if len(self._widths) > 1 else "")


def read_section(
    file: ArpaFile, n: int, count: int, highest: bool, words: tuple[str, ...], report: Callable[[int], object]
) -> Section:
    """The ``count`` n-grams of length n, with or without an empty line after them; ``words``: those of the unigrams,
    if n > 1.

    ``report(rows read)`` is called now and then.
    """
    title = file.next_text()
    if title != f"\\{n}-grams:".encode():
        raise file.error(f"'{shown(title)}'", f"'\\{n}-grams:'")
    first_line = file.number + 1
    rows = Rows(file, n, highest, words)
    for row in range(count):
        line = file.next()
        if not line or line.startswith(b"\\"):
            raise file.error(f"the section ends after {row} {n}-grams", f"{count}, as the header says")
        rows.add(line)
        if row % _ROWS_BETWEEN_REPORTS == 0:
            report(row)
    line = file.next_text()
    if not line.startswith(b"\\"):
        raise file.error(f"'{shown(line)}' after {count} {n}-grams", "an empty line: the header says there are no more")
    file.put_back(line)
    return rows.section(first_line)


def shown(line: bytes) -> str:
    """A line as a message quotes it."""
    text = line.decode("utf-8", errors="replace")
    return text if len(text) <= 60 else f"{text[:57]}..."
