"""Opening a model that a user names: a pretrained one, a folder from training, or a file from export."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative import pretrained
from recitative.atomic import recover_folder
from recitative.errors import DataError, UsageError

if TYPE_CHECKING:
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.transcriber import Transcriber
    from recitative.classification.labeller import Labeller
    from recitative.cli.decoding import DecodingOptions
    from recitative.lm.query import LanguageModel

MODEL_HELP = "Name of a pretrained model, model folder such as exp/lstm/model, or exported file."


def find_model(name: str) -> Path:
    """The folder or file of a model; nothing named is the pretrained streaming one, and says so on stderr.

    Raises DataError for what does not exist.
    """
    if not name:
        name = pretrained.STREAMING
        others = ", ".join(pretrained.recognisers())
        print(f"model: {name} (others with --model: {others}, or a path)", file=sys.stderr)
    path = pretrained.find(name)
    recover_folder(path)
    if not path.exists():
        known = ", ".join(pretrained.names()) or "none"
        raise DataError(name, "is no model", f"a path, or a pretrained model: {known}", "correct --model")
    return path


def open_transcriber(model: Path, options: DecodingOptions | None = None, *, warns: bool = True) -> Transcriber:
    """A folder runs on PyTorch, a file on ONNX Runtime, which needs no PyTorch. Raises DataError for neither.

    warns: of words that a language model lacks; once is enough where many processes open the same
    """
    transcriber = _open(model)
    return options.apply(transcriber, warns=warns) if options else transcriber


def _open(model: Path) -> Transcriber:
    if model.is_dir():
        from recitative.asr.recognizer_kind import RECOGNIZER
        from recitative.asr.streams_network import new_transcriber
        from recitative.model.folder import load_model

        return new_transcriber(load_model(model, RECOGNIZER))
    from recitative.asr.onnx import load_transcriber

    return load_transcriber(model)


def open_recognizer(model: Path, options: DecodingOptions | None = None, *, warns: bool = True) -> Recognizer:
    """Of the same models; at module level, so that worker processes can be told of it."""
    from recitative.asr.recognizer import Recognizer

    return Recognizer(open_transcriber(model, options, warns=warns))


def is_classifier(model: Path) -> bool:
    """Of a folder or a file. Raises DataError for a file of no model."""
    if model.is_dir():
        from recitative.classification.kind import CLASSIFIER
        from recitative.model.kind import name_in_settings

        return name_in_settings(model) == CLASSIFIER.name
    from recitative.runtime.cards import is_classifier as is_classifier_file

    return is_classifier_file(model)


AllSpeedsOption = Annotated[
    bool,
    typer.Option("--all-speeds", help="Average the predictions at all speeds of the training."),
]


def open_labeller(model: Path, *, all_speeds: bool = False) -> Labeller:
    """A classifier: a folder runs on PyTorch, a file on ONNX Runtime. Raises DataError for neither.

    Raises UsageError if ``all_speeds`` are wanted of one that was trained at one speed.
    """
    labeller = _labeller(model)
    if all_speeds and len(labeller.speeds) == 1:
        raise UsageError(f"--all-speeds: {model} was trained at one speed (augment.speeds); leave it out")
    return labeller


def _labeller(model: Path) -> Labeller:
    if model.is_dir():
        from recitative.classification.kind import CLASSIFIER
        from recitative.classification.labeller import Labeller
        from recitative.model.folder import load_model
        from recitative.model.torch_stage import TorchStage

        loaded = load_model(model, CLASSIFIER)
        return Labeller(TorchStage(loaded.network), loaded.settings, loaded.labels)
    from recitative.classification.onnx import load_classifier as load_file

    return load_file(model)


def open_lm(path: Path, progress: Callable[[int, int], object] = lambda done, total: None) -> LanguageModel:
    """An n-gram model, ARPA or packed, or a recurrent model: its folder, which needs PyTorch, or its exported file.

    Raises DataError for what is none of these. ``progress`` is of an ARPA file, which may be large.
    """
    if path.is_dir():
        from recitative.lm.kind import LANGUAGE_MODEL
        from recitative.lm.stream_network import new_scorer
        from recitative.model.folder import load_model

        return new_scorer(load_model(path, LANGUAGE_MODEL))
    if not path.is_file():
        raise DataError(str(path), "is no language model", "an ARPA file or a recurrent model", "correct the path")
    if path.suffix == ".onnx":
        from recitative.lm.onnx import open_language_model

        return open_language_model(path)
    from recitative.lm.ngram import read_lm

    return read_lm(path, progress)
