"""Opening a model that a user names: a pretrained one, a folder from training, or a file from export."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative import pretrained
from recitative.atomic import recover_folder
from recitative.errors import DataError, UsageError

if TYPE_CHECKING:
    from recitative.asr.pronouncer import Pronouncer
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import Transcriber
    from recitative.asr.transcript import TextForm
    from recitative.classification.classifier import Classifier
    from recitative.cli.decoding import DecodingArguments
    from recitative.lm.query import LanguageModel

MODEL_HELP = "Name of a pretrained model, model folder such as exp/lstm/model, or exported file."


def find_model(name: str) -> Path:
    """The folder or file of a model; nothing named is the pretrained streaming one, and says so on stderr.

    Raises DataError for what does not exist.
    """
    if not name:
        name = pretrained.STREAMING
        others = ", ".join(pretrained.recognizers())
        print(f"model: {name} (others with --model: {others}, or a path)", file=sys.stderr)
    path = pretrained.find(name)
    recover_folder(path)
    if not path.exists():
        known = ", ".join(pretrained.names()) or "none"
        raise DataError(name, "is no model", f"a path, or a pretrained model: {known}", "correct --model")
    return path


def open_transcriber(model: Path, options: DecodingArguments | None = None, *, warns: bool = True) -> Transcriber:
    """A folder runs on PyTorch, a file on ONNX Runtime, which needs no PyTorch. Raises DataError for neither.

    warns: of words that a language model lacks; once is enough where many processes open the same
    """
    from recitative.asr.stream import Transcriber, load_transcriber

    if model.is_dir():
        from recitative.asr.recognizer_kind import RECOGNIZER, language_of
        from recitative.kinds import open_stage

        _, stage, settings, extras = open_stage(model, [RECOGNIZER])
        transcriber = Transcriber(stage, settings, extras["tokens"], language_of(extras))
    else:
        transcriber = load_transcriber(model)
    return options.apply(transcriber, warns=warns) if options else transcriber


def open_recognizer(
    model: Path, options: DecodingArguments | None = None, *, text: TextForm = "raw", warns: bool = True
) -> Recognizer:
    """Of the same models; at module level, so that worker processes can be told of it."""
    from recitative.asr.recognizer import Recognizer

    return Recognizer(open_transcriber(model, options, warns=warns), pretrained.name_of(model), text)


TextOption = Annotated[
    Literal["raw", "readable"] | None,
    typer.Option(
        help="readable: English with punctuation, capitals and figures. Default: readable for text and subtitles of "
        f"the model '{pretrained.STREAMING}', raw for JSON, tables and all other models."
    ),
]


def choose_text(text: TextForm | None, model: Path, *, for_people: bool) -> TextForm:
    """The form that was asked for; else the readable one, where people read it and the model is the English one that
    ships."""
    if text or not for_people or pretrained.name_of(model) != pretrained.STREAMING:
        return text or "raw"
    return "readable" if pretrained.PUNCTUATION in pretrained.names() else "raw"


AllSpeedsOption = Annotated[
    bool,
    typer.Option("--all-speeds", help="Average the predictions at all speeds of the training."),
]


def open_classifier(model: Path, *, all_speeds: bool = False) -> Classifier:
    """A classifier: a folder runs on PyTorch, a file on ONNX Runtime. Raises DataError for neither.

    Raises UsageError if ``all_speeds`` are wanted of one that was trained at one speed.
    """
    from recitative.classification.kind import CLASSIFIER
    from recitative.kinds import open_model

    classifier: Classifier = open_model(pretrained.find(str(model)), [CLASSIFIER])
    if all_speeds and len(classifier.speeds) == 1:
        raise UsageError(f"--all-speeds: {model} was trained at one speed (augment.speeds); leave it out")
    return classifier


def open_pronouncer(model: Path) -> Pronouncer:
    """A letter-to-sound model: a folder, a file, or a pretrained model's name. Raises DataError for anything else."""
    from recitative.asr.g2p_kind import G2P
    from recitative.kinds import open_model

    pronouncer: Pronouncer = open_model(pretrained.find(model), [G2P])
    return pronouncer


def open_lm(path: Path, progress: Callable[[int, int], object] = lambda done, total: None) -> LanguageModel:
    """An n-gram model, ARPA or packed, or a recurrent model: its folder, which needs PyTorch, or its exported file.

    Raises DataError for what is none of these. ``progress`` is of an ARPA file, which may be large.
    """
    if path.is_dir() or path.suffix == ".onnx":
        from recitative.kinds import open_model
        from recitative.lm.kind import LANGUAGE_MODEL

        scorer: LanguageModel = open_model(path, [LANGUAGE_MODEL])
        return scorer
    if not path.is_file():
        raise DataError(str(path), "is no language model", "an ARPA file or a recurrent model", "correct the path")
    from recitative.lm.ngram import read_lm

    return read_lm(path, progress)
