"""What a recognizer knows beside its network: a lexicon, a language model, and how far to trust its confidences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from recitative.errors import DataError
from recitative.lm.ngram import NgramModel, parse_lm, read_lm
from recitative.lm.query import LanguageModel
from recitative.score.calibration import Calibrator
from recitative.text.lexicon import Lexicon


@dataclass(frozen=True)
class Language:
    """lexicon: the words that it writes, None = any; ngram: the language model as text, packed or as an ARPA file has
    it, '' = none."""

    lexicon: Lexicon | None = None
    ngram: str = ""
    calibrator: Calibrator | None = None

    @cached_property
    def lm(self) -> NgramModel | None:
        return parse_lm(self.ngram, "lm.ngram") if self.ngram else None

    def with_lm(self, path: Path) -> Language:
        """Raises DataError for a file that isn't a whole n-gram model, ARPA or packed."""
        return replace(self, ngram=read_lm(path).to_text())


NO_LANGUAGE = Language()


def unknown_to(lm: LanguageModel, lexicon: Lexicon, where: str) -> list[str]:
    """The words that a lexicon writes and a language model does not know; they count as ``unknown_score``.

    Raises DataError if that is all of them: the two do not belong together.
    """
    unknown = [word for word in lexicon.entries if not lm.knows(word)]
    if len(unknown) == len(lexicon):
        found = f"knows none of the {len(lexicon)} words of the lexicon, such as '{unknown[0]}'"
        raise DataError(where, found, "a model of the same words, in the same case", "make it from texts as they are")
    return unknown
