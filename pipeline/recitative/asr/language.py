"""What a recogniser knows beside its network: a lexicon, a language model, and how far to trust its confidences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from recitative.atomic import write_text
from recitative.errors import DataError
from recitative.lm.ngram import NgramModel, parse_lm, read_lm
from recitative.lm.query import LanguageModel
from recitative.reading import read_json
from recitative.score.calibration import Calibrator
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

LEXICON, LM, CALIBRATION = "lexicon.txt", "lm.ngram", "confidence.json"
ARPA = "lm.arpa"  # in folders of earlier versions


@dataclass(frozen=True)
class Language:
    """lexicon: the words that it writes, None = any; ngram: the language model as text, packed or as an ARPA file has
    it, '' = none."""

    lexicon: Lexicon | None = None
    ngram: str = ""
    calibrator: Calibrator | None = None

    @cached_property
    def lm(self) -> NgramModel | None:
        return parse_lm(self.ngram, LM) if self.ngram else None

    def with_lm(self, path: Path) -> Language:
        """Raises DataError for a file that isn't a whole n-gram model, ARPA or packed."""
        return replace(self, ngram=read_lm(path).to_text())

    @classmethod
    def read(cls, folder: Path, tokens: TokenTable) -> Language:
        """What of it is in a model folder. Raises DataError for a damaged file."""
        lexicon, calibration = folder / LEXICON, folder / CALIBRATION
        lm = folder / LM if (folder / LM).exists() else folder / ARPA
        return cls(
            Lexicon.read(lexicon, tokens) if lexicon.exists() else None,
            read_lm(lm).to_text() if lm.exists() else "",
            _read_calibrator(calibration) if calibration.exists() else None,
        )

    def write(self, folder: Path) -> None:
        """Into a model folder; what there is none of is not written."""
        if self.lexicon:
            self.lexicon.write(folder / LEXICON)
        if self.ngram:
            write_text(folder / LM, self.ngram)
        if self.calibrator:
            write_text(folder / CALIBRATION, json.dumps(self.calibrator.to_dict(), indent=1) + "\n")

    def to_facts(self) -> dict[str, Any]:
        """For a model file's card."""
        return {
            "lexicon": self.lexicon.to_text() if self.lexicon else "",
            "lm": self.ngram,
            "calibrator": self.calibrator.to_dict() if self.calibrator else None,
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], tokens: TokenTable, where: str) -> Language:
        """Raises DataError that names the file, or KeyError."""
        lexicon = Lexicon.parse(facts["lexicon"], f"{where}, lexicon", tokens) if facts["lexicon"] else None
        calibrator = Calibrator.from_dict(facts["calibrator"], where) if facts["calibrator"] else None
        return cls(lexicon, facts["lm"], calibrator)


def _read_calibrator(path: Path) -> Calibrator:
    return Calibrator.from_dict(read_json(path, "a calibrator", "make it again with 'recitative tune'"), str(path))


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
