"""Open a model that a user names: a pretrained one, a folder from training, or an exported file; decoding options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from recitative import pretrained
from recitative.atomic import recover_folder
from recitative.errors import DataError, UsageError
from recitative.model.kind import model_named
from recitative.terminal import Show, progress_bar

if TYPE_CHECKING:
    from recitative.asr.pronunciation import Pronouncer
    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import Transcriber
    from recitative.asr.transcript import TextForm
    from recitative.classification.classifier import Classifier
    from recitative.decoding.hotwords import HotWord
    from recitative.lm.arpa import LanguageModel
    from recitative.text.lexicon import Lexicon

MODEL_HELP = "Name of a pretrained model, model folder such as exp/lstm/model, or exported file."


RECOGNIZERS, COMPOSERS, PRONOUNCERS = ("recognizer",), ("music",), ("g2p",)
SERVED = (*RECOGNIZERS, *COMPOSERS)
ANY: tuple[str, ...] = ()
"""Kinds of pretrained models, as verbs take them."""


def complete(*kinds: str) -> Callable[[str], list[str]]:
    """For the shell: names of pretrained models of these kinds. Where none fits, it completes files."""
    return lambda incomplete: [name for name in pretrained.names(*kinds) if name.startswith(incomplete)]


def find_model(name: str, kinds: Sequence[str] = RECOGNIZERS) -> Path:
    """The folder or file of a model. Without a name, the pretrained streaming one, which is printed on stderr.

    kinds: of pretrained models that the verb takes. Raises DataError for a model that does not exist, and for a
    pretrained one of another kind.
    """
    if not name:
        name = pretrained.STREAMING
        others = ", ".join(other for other in pretrained.names(*RECOGNIZERS) if other != name)
        print(f"model: {name} (others with --model: {others}, or a path)", file=sys.stderr)
    path = pretrained.find(name)
    recover_folder(path)
    known = pretrained.names(*kinds)
    is_other = path == pretrained.path_of(name) and name not in known
    if is_other or not path.exists():
        found = f"is {model_named(pretrained.KINDS[name])}" if is_other else "is no model"
        raise DataError(
            name, found, f"a path, or a pretrained model: {', '.join(known) or 'none'}", "correct the model"
        )
    return path


def opening(model: Path) -> AbstractContextManager[Show]:
    """A progress bar while a model is opened."""
    return progress_bar(f"open {pretrained.name_of(model)}")


def open_transcriber(model: Path, options: DecodingArguments | None = None, *, warns: bool = True) -> Transcriber:
    """Open a recognizer: a folder with PyTorch, an exported file with ONNX Runtime. Raises DataError for other models.

    warns: about words that a language model lacks, and shows how far it is read; False in further processes that open
    the same model
    """
    from recitative.asr.stream import Transcriber, load_transcriber

    if model.is_dir():
        from recitative.asr.kind import RECOGNIZER, language_of
        from recitative.kinds import open_stage

        _, stage, settings, extras = open_stage(model, [RECOGNIZER])
        transcriber = Transcriber(stage, settings, extras["tokens"], language_of(extras))
    else:
        transcriber = load_transcriber(model)
    return options.apply(transcriber, warns=warns) if options else transcriber


def open_named_transcriber(model: str) -> Transcriber:
    """The same for a pretrained model's name or a path."""
    return open_transcriber(find_model(model))


def open_recognizer(
    model: Path, options: DecodingArguments | None = None, *, text: TextForm = "raw", warns: bool = True
) -> Recognizer:
    """Open a recognizer for recordings and streams. At module level, so that worker processes can unpickle it."""
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
    """The form of the text. Default: readable if people read it and the model is the pretrained streaming one."""
    if text or not for_people or pretrained.name_of(model) != pretrained.STREAMING:
        return text or "raw"
    return "readable" if pretrained.PUNCTUATION in pretrained.names() else "raw"


def open_classifier(model: Path, *, all_speeds: bool = False) -> Classifier:
    """Open a classifier: a folder with PyTorch, an exported file with ONNX Runtime. Raises DataError for other models.

    Raises UsageError for ``all_speeds`` if the model was trained at one speed.
    """
    from recitative.classification.classifier import CLASSIFIER
    from recitative.kinds import open_model

    classifier: Classifier = open_model(pretrained.find(str(model)), [CLASSIFIER])
    if all_speeds and len(classifier.speeds) == 1:
        raise UsageError(f"--all-speeds: {model} was trained at one speed (augment.speeds); leave it out")
    return classifier


def open_pronouncer(model: Path) -> Pronouncer:
    """Open a letter-to-sound model: a folder, a file, or a pretrained model's name. Raises DataError for others."""
    from recitative.asr.kind import G2P
    from recitative.kinds import open_model

    pronouncer: Pronouncer = open_model(find_model(str(model), PRONOUNCERS), [G2P])
    return pronouncer


def open_lm(path: Path, progress: Callable[[int, int], object] = lambda done, total: None) -> LanguageModel:
    """Open a language model: an n-gram file, ARPA or packed, or a recurrent model's folder or exported file.

    progress: of reading an ARPA file, which may be large. Raises DataError for other files.
    """
    if path.is_dir() or path.suffix == ".onnx":
        from recitative.kinds import open_model
        from recitative.lm.recurrent import LANGUAGE_MODEL

        scorer: LanguageModel = open_model(path, [LANGUAGE_MODEL])
        return scorer
    if not path.is_file():
        raise DataError(str(path), "is no language model", "an ARPA file or a recurrent model", "correct the path")
    from recitative.lm.ngram import read_lm

    return read_lm(path, progress)


NO_LM = "none"


@dataclass(frozen=True)
class DecodingArguments:
    """Options of decoding. Raises UsageError for options that exclude each other."""

    panel: ClassVar = "Decoding"
    lm: Annotated[
        str,
        typer.Option(
            help="Language model (ARPA, packed or recurrent) instead of the model's own. 'none': no language model."
        ),
    ] = ""
    hotwords: Annotated[
        str, typer.Option(help="Phrases to favor: 'new york, tokyo:6, word=PH PH', or a file with one per line.")
    ] = ""
    grammar: Annotated[
        Path | None, typer.Option(help="Grammar or list of phrases; only its sentences are recognized.")
    ] = None
    lexicon: Annotated[Path | None, typer.Option(help="Lexicon; only its words are recognized.")] = None
    nbest: Annotated[int, typer.Option(min=1, help="Number of alternatives with scores, in the JSON formats.")] = 1
    beam: Annotated[int, typer.Option(min=0, help="Beam width. 0: the model's setting.")] = 0
    greedy: Annotated[bool, typer.Option("--greedy", help="Greedy search: no lexicon, no language model.")] = False

    def __post_init__(self) -> None:
        others = (self.lm, self.hotwords, self.grammar, self.lexicon, self.nbest > 1, self.beam)
        if self.greedy and any(others):
            raise UsageError("--greedy: excludes the other options of decoding; give it alone")
        if self.grammar and self.lm not in ("", NO_LM):
            raise UsageError("--grammar and --lm: a grammar replaces the language model; give one of them")

    def apply(self, transcriber: Transcriber, *, warns: bool = True) -> Transcriber:
        """The transcriber with these options. Raises DataError for files that cannot be read."""
        if self == DecodingArguments():
            return transcriber
        from recitative.asr.decoding import DecodingOptions
        from recitative.decoding.hotwords import Grammar
        from recitative.text.lexicon import Lexicon

        lexicon = Lexicon.read(self.lexicon, transcriber.tokens) if self.lexicon else None
        lm = None
        if self.lm not in ("", NO_LM):
            with progress_bar(f"read {Path(self.lm).name}") if warns else nullcontext(lambda done, total: None) as show:
                lm = open_lm(Path(self.lm), show)
        if lm and warns:
            warn_of_unknown(lm, lexicon or transcriber.language.lexicon, self.lm)
        options = DecodingOptions(
            lm=lm,
            no_lm=self.lm == NO_LM,
            hot_words=tuple(_read_hot_words(self.hotwords, transcriber.settings.decode.hot_word_weight)),
            grammar=Grammar.read(self.grammar) if self.grammar else None,
            lexicon=lexicon,
            count=self.nbest,
            beam=self.beam or None,
            greedy=self.greedy,
        )
        return transcriber.with_options(options)


def _read_hot_words(text: str, weight: float) -> list[HotWord]:
    from recitative.decoding.hotwords import parse_hot_words, read_hot_words

    if text and os.path.isfile(text):  # Path.is_file raises OSError for a list longer than any file name
        return read_hot_words(Path(text), weight)
    return parse_hot_words(text, weight)


def warn_of_unknown(lm: LanguageModel, lexicon: Lexicon | None, name: str) -> None:
    """Warn about words of the lexicon that the language model lacks. Raises DataError if it lacks all."""
    from recitative.asr.decoding import unknown_to

    unknown = unknown_to(lm, lexicon, name) if lexicon else []
    if lexicon and unknown:
        some = ", ".join(f"'{word}'" for word in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        print(f"warning: {name} does not know {len(unknown)} of {len(lexicon)} words: {some}", file=sys.stderr)
