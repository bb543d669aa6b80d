"""The options of keyword spotting, the same for ``spot``, ``listen`` and ``keywords``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.classification.kind import CLASSIFIER
from recitative.cli.models import open_labeller, open_transcriber
from recitative.errors import UsageError
from recitative.kinds import kind_of

if TYPE_CHECKING:
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.transcriber import DecodedNetwork
    from recitative.decoding.hotwords import Phrase
    from recitative.keywords.label_spotter import LabelSpotter
    from recitative.keywords.spotter import KeywordSpotter

SPOTTING_MODEL_HELP = (
    "A recognizer, which finds any phrase, or a classifier trained with model.pooling=recent, which finds its labels: "
    "a pretrained model's name, a model folder such as EXP/model, or an exported file."
)

KeywordsOption = Annotated[
    str,
    typer.Option(
        "--keywords",
        help="Keywords: 'yes, turn left:0.9, word=PH PH' (threshold, phones), or a file with one per line. "
        "For a classifier: labels.",
    ),
]
ThresholdsOption = Annotated[
    Path | None, typer.Option("--thresholds", help="File of confidence thresholds from 'recitative keywords tune'.")
]
WithinOption = Annotated[
    bool, typer.Option("--within-words", help="Also find keywords inside words ('yes' in 'yesterday').")
]


def named_keywords(text: str) -> list[Phrase]:
    """Those of the command line, or of a file. Raises UsageError, DataError."""
    from recitative.decoding.hotwords import read_phrases
    from recitative.keywords.spotter import KIND, parse_keywords, require_keywords

    if text and os.path.isfile(text):  # Path.is_file fails on a list longer than any name
        return require_keywords(read_phrases(Path(text), KIND))
    if text.endswith((".txt", ".list")) or os.sep in text:
        raise UsageError(f"--keywords {text}: there is no such file; correct the path, or give the words themselves")
    return parse_keywords(text)


def read_thresholds(path: Path | None, model: Path, phrases: Sequence[Phrase]) -> Mapping[str, float]:
    """Of all phrases that have none of their own; empty without a file. Raises DataError for what does not fit."""
    from recitative.keywords.evaluate import KeywordThresholds

    if path is None:
        return {}
    found = KeywordThresholds.read(path)
    found.require(path, model, [phrase.text for phrase in phrases if phrase.number is None])
    return found.thresholds


@dataclass(frozen=True)
class SpottingOptions:
    """What was asked for on the command line; worker processes are told of it."""

    keywords: str
    thresholds: Path | None = None
    within_words: bool = False

    def open(self, model: Path) -> DecodedNetwork:
        """The model, looking for the keywords. Raises what its parts raise."""
        phrases = named_keywords(self.keywords)
        thresholds = read_thresholds(self.thresholds, model, phrases)
        return open_spotting(model, phrases, thresholds, within_words=self.within_words)[0]


def open_spotting(
    model: Path, phrases: Sequence[Phrase], thresholds: Mapping[str, float] | None = None, *, within_words: bool = False
) -> tuple[DecodedNetwork, KeywordSpotter | LabelSpotter]:
    """A model that looks for keywords, and its decoder. Raises what its parts raise, and UsageError for a classifier
    within words."""
    if kind_of(model, [RECOGNIZER, CLASSIFIER]) is CLASSIFIER:
        from recitative.keywords.label_spotter import spot_labels

        if within_words:
            raise UsageError("--within-words: is for recognizers; a classifier hears whole labels; leave it out")
        return spot_labels(open_labeller(model), phrases, thresholds)
    from recitative.keywords.spotter import new_spotter

    transcriber = open_transcriber(model)
    spotter = new_spotter(transcriber, phrases, thresholds, within_words=within_words)
    return transcriber.with_decoder(spotter), spotter


def open_spotting_recognizer(model: Path, options: SpottingOptions) -> Recognizer:
    """At module level, so that worker processes can be told of it."""
    from recitative.asr.recognizer import Recognizer

    return Recognizer(options.open(model))
