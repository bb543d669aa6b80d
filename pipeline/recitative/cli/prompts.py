"""Prompts for a recurrent language model, from the command line or from stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recitative.cli.models import open_lm
from recitative.errors import DataError, UsageError

if TYPE_CHECKING:
    from recitative.lm.scores import RecurrentLanguageModel


def open_recurrent(model: Path, verb: str) -> RecurrentLanguageModel:
    """Raises UsageError for an n-gram model, which ``verb`` cannot ask, DataError for what is no language model."""
    from recitative.lm.scores import RecurrentLanguageModel

    scorer = open_lm(model)
    if not isinstance(scorer, RecurrentLanguageModel):
        raise UsageError(f"{model}: is an n-gram model; '{verb}' asks a recurrent one")
    return scorer


def read_prompts(prompts: Sequence[str]) -> Iterable[str]:
    """Each '-' stands for the lines of stdin."""
    for prompt in prompts:
        if prompt != "-":
            yield prompt
            continue
        try:
            yield from (line.rstrip("\r\n") for line in sys.stdin)
        except UnicodeDecodeError:
            raise DataError("stdin", "is not UTF-8", "one prompt a line", "convert it") from None


def warn_of_unknown(scorer: RecurrentLanguageModel, prompt: str) -> None:
    """On stderr, what of a prompt the model reads as unknown."""
    unknown = scorer.vocabulary.count_unknown([prompt])
    if unknown:
        listed = ", ".join(f"'{symbol}'" for symbol in sorted(unknown))
        print(f"prompt '{prompt}': {listed} not in the vocabulary, read as unknown", file=sys.stderr)
