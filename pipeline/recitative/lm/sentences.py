"""Texts of language models: what they are read from, and what may not be in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recitative.data.columns import column_fault, words_of
from recitative.data.transcripts import read_transcripts, require_ids, table_of
from recitative.errors import DataError, Problem
from recitative.lm.model import BEGIN, END
from recitative.reading import read_text

NO_WORDS = frozenset({"<eps>", "#0", BEGIN, END})
"""What a Kaldi words.txt lists beside words."""


@dataclass(frozen=True)
class Sentences:
    """The sentences of one file."""

    name: str  # its path
    lines: tuple[str, ...]  # words with single spaces, at least one
    empty: int  # lines without a word, which are left out

    @property
    def words(self) -> set[str]:
        return {word for line in self.lines for word in line.split(" ")}


def read_sentences(path: Path, *, plain: bool | None = None) -> Sentences:
    """Read a Kaldi text table, that of a data directory or of shards, or with ``plain`` a file of one sentence a line.

    plain: None for a table that must look like one: else the first word of every line would be lost as its id.
    Raises UsageError for a file that may be either. Raises one DataError with all faults: of the table's form, a
    sentence mark in a text, a blank that is no space, text that isn't UTF-8, no words at all.
    """
    if plain is None:
        require_ids(path, "say --plain if every line is a sentence, --no-plain if it begins with an id")
    numbered = _plain_lines(path) if plain else [(row.line, row.value) for row in read_transcripts(path)]
    path = path if plain else table_of(path)
    problems = []
    for number, line in numbered:
        fault = column_fault("text", line)
        if fault:
            problems.append(Problem(f"{path}:{number}", fault.found, fault.allowed, fault.remedy))
    if problems:
        raise DataError.collect(problems)
    lines = tuple(filter(None, (words_of(line) for _, line in numbered)))
    if not lines:
        form = "a sentence in every line" if plain else "'utterance words...' lines, or sentences with --plain"
        raise DataError(str(path), "has no words", form, "fill it")
    return Sentences(str(path), lines, len(numbered) - len(lines))


def read_vocabulary(path: Path) -> list[str]:
    """The first column of a file, such as one word a line, a lexicon, or Kaldi's words.txt, whose signs are left out.

    Raises DataError for a file that can't be read, isn't UTF-8 or has no words.
    """
    columns = [line.split() for _, line in _plain_lines(path)]
    words = [column[0] for column in columns if column and column[0] not in NO_WORDS]
    if not words:
        raise DataError(str(path), "has no words", "one a line", "fill it")
    return words


def _plain_lines(path: Path) -> list[tuple[int, str]]:
    """Numbered from 1."""
    lines = read_text(path).split("\n")
    return list(enumerate(lines[:-1] if lines[-1] == "" else lines, start=1))
