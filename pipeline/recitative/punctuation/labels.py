"""What is restored to a word: the mark behind it and its case. Written text as words with labels, and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from recitative.errors import DataError
from recitative.reading import read_text
from recitative.text.normalize import HYPHENS, normalize

MARKS = ("", ",", ".", "?", "!")
SENTENCE_ENDS = (".", "?", "!")
LOWER, CAPITAL, UPPER = CASES = ("lower", "capital", "upper")
LABELS = tuple((mark, case) for mark in MARKS for case in CASES)

_TO_SPACES = str.maketrans(dict.fromkeys(HYPHENS, " "))


class LabelledWord(NamedTuple):
    """word: as a recognizer writes it; mark: of MARKS; case: of CASES; begins: whether it is the first of a sentence,
    where every word has a capital."""

    word: str
    mark: str
    case: str
    begins: bool = False

    @property
    def text(self) -> str:
        """As it is written."""
        case = CAPITAL if self.begins and self.case == LOWER else self.case
        written = {LOWER: self.word, CAPITAL: self.word[:1].upper() + self.word[1:], UPPER: self.word.upper()}[case]
        return written + self.mark


def labelled(words: Sequence[str], labels: Sequence[tuple[str, str]], begins: bool = True) -> list[LabelledWord]:
    """Words with the marks and cases that were found for them. begins: whether the first begins a sentence."""
    starts = [begins, *(mark in SENTENCE_ENDS for mark, _ in labels)]
    return [LabelledWord(word, *label, start) for word, label, start in zip(words, labels, starts, strict=False)]


def read_lines(path: Path) -> list[str]:
    """The passages of a text file, one a line. Raises DataError for a file without words."""
    lines = [line for line in read_text(path, "written text").splitlines() if line.strip()]
    if not lines:
        raise DataError(str(path), "has no words", "written text, a passage on each line", "give another file")
    return lines


def read_written(text: str) -> list[LabelledWord]:
    """The words of a text whose marks are those of MARKS; other signs say nothing. Hyphens divide words."""
    words: list[str] = []
    labels: list[tuple[str, str]] = []
    for token in text.translate(_TO_SPACES).split():
        word, mark, case = _read(token)
        if word:
            words.append(word)
            labels.append((mark, case))
        elif mark and labels and not labels[-1][0]:  # a mark that stands alone
            labels[-1] = (mark, labels[-1][1])
    return labelled(words, labels)


@cache
def _read(token: str) -> tuple[str, str, str]:
    """The word ('' of signs alone), the mark and the case of what stands between two spaces."""
    word = normalize(token).replace(" ", "")
    letters = [sign for sign in token if sign.isalpha()]
    behind = token[token.rindex(letters[-1]) :] if letters else token
    mark = next((sign for sign in reversed(behind) if sign in MARKS), "")
    if len(letters) > 1 and all(sign.isupper() for sign in letters):
        return word, mark, UPPER
    return word, mark, CAPITAL if letters and letters[0].isupper() else LOWER
