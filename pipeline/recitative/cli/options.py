"""Options that several verbs share, how verbs report what went wrong, and the names of recordings in results.

A group of options is a dataclass whose fields are annotated for Typer. A verb takes the group as one argument;
``expand_options`` shows Typer the options in its place:

    @expand_options
    def score(model: Path, data: Path, record: Record) -> None: ...
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_type_hints

import typer
from pydantic import BaseModel

from recitative import pretrained
from recitative.config import Settings, dump_settings, load_settings
from recitative.data.parallel import Engine, available_cores
from recitative.errors import DataError, UsageError, one_line, os_problem
from recitative.model.kind import title_of, with_article
from recitative.score.results import (
    Measurement,
    ResultRow,
    describe_commit,
    describe_machine,
    record,
    rows_of,
    settings_hash,
)
from recitative.terminal import Show, clock, count, progress_bar

if TYPE_CHECKING:
    from recitative.asr.pronunciation import Pronouncer
    from recitative.asr.recognizer import Channel, Recognizer
    from recitative.asr.stream import Transcriber
    from recitative.asr.transcript import TextForm, Transcript
    from recitative.classification.classifier import Classifier
    from recitative.decoding.hotwords import HotWord
    from recitative.lm.arpa import LanguageModel
    from recitative.text.tokens import Lexicon


class Without:
    """``Annotated[Group, Without("beam")]``: the group without some of its options, which keep their defaults."""

    def __init__(self, *options: str) -> None:
        self.options = options


def expand_options(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb for Typer: parameters whose type is a dataclass become one option for each field.

    Typer reads the signature of the result and calls it with the values of the options; the verb gets the dataclass.
    Python code may also call the result with the dataclass itself, as a keyword argument.
    """
    parameters: list[Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for name, parameter in signature(verb, eval_str=True).parameters.items():
        group, *marks = get_args(parameter.annotation) or (parameter.annotation,)
        if not is_dataclass(group):
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
            continue
        left_out = {option for mark in marks for option in mark.options}
        hints = get_type_hints(group, include_extras=True)
        options = [field for field in fields(group) if field.name not in left_out]
        groups[name] = group, [field.name for field in options]
        for field in options:
            annotation = hints[field.name]
            annotation.__metadata__[0].rich_help_panel = getattr(group, "panel", None)
            parameters.append(
                Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
            )

    @wraps(verb)
    def expanded(*arguments: Any, **values: Any) -> None:
        for name, (group, options) in groups.items():
            if not isinstance(values.get(name), group):
                values[name] = group(**{option: values.pop(option) for option in options if option in values})
        verb(*arguments, **values)

    expanded.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


# Settings, parallel work, sampling


@dataclass(frozen=True)
class SettingsOptions:
    """The settings of a recognizer."""

    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as features.sample_rate=8000.")] = None
    conf: Annotated[Path | None, typer.Option(help="YAML settings file.")] = None

    def load(self) -> Settings:
        """Raises UsageError for settings that are unknown or wrong."""
        return load_settings(self.conf, self.overrides or ())


@dataclass(frozen=True)
class EngineOptions:
    """Options of parallel work. Raises UsageError for an address without Ray."""

    jobs: Annotated[
        int, typer.Option(min=0, help="Number of processes. 0: one per core of this machine or of the cluster.")
    ] = 0
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Run on this machine or on a running Ray cluster.")
    ] = "local"
    address: Annotated[
        str, typer.Option(help="Address of the Ray cluster. Default: RAY_ADDRESS, or this machine's cluster.")
    ] = ""

    def __post_init__(self) -> None:
        if self.address and self.engine != "ray":
            raise UsageError(f"--address {self.address}: requires --engine ray")

    def to_engine(self) -> Engine:
        jobs = self.jobs or available_cores() if self.engine == "local" else self.jobs
        return Engine(self.engine, jobs, self.address)


JobsOption = Annotated[
    int,
    typer.Option(
        "--jobs", min=0, help="Number of processes. 0: one per core; for less than two minutes of audio, one."
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Random seed. Equal seeds give identical output.")]
TemperatureOption = Annotated[float, typer.Option("--temperature", help="Sampling temperature.")]
TopPOption = Annotated[float, typer.Option("--top-p", help="Nucleus (top-p) sampling threshold.")]


# Results of a recipe


@dataclass(frozen=True)
class Record:
    """The results to add numbers to, and the names of their row. Raises UsageError for options that lack others."""

    panel: ClassVar = "Results"
    results: Annotated[
        Path | None, typer.Option(help="JSON-lines file of results to update. Requires --model and --set.")
    ] = None
    results_md: Annotated[Path | None, typer.Option(help="Markdown table of all results to write.")] = None
    name: Annotated[str, typer.Option("--model", help="Name of the model.")] = ""
    set_name: Annotated[str, typer.Option("--set", help="Name of the data.")] = ""
    decoding: Annotated[str, typer.Option(help="Name of the decoding or measurement.")] = "-"
    command: Annotated[str, typer.Option(help="Command that made the model.")] = "-"

    def __post_init__(self) -> None:
        if self.results_md and not self.results:
            raise UsageError("--results-md requires --results")
        if self.results and not (self.name and self.set_name):
            raise UsageError("--results requires --model and --set, which name the row")

    def row(self, settings: str = "-", seconds: float | None = None) -> ResultRow:
        """A row without a number. settings: hash of the model's settings; seconds: time of the measurement"""
        return ResultRow(
            self.name, self.set_name, self.decoding, "", math.nan, "-", self.command, describe_commit(Path.cwd()),
            settings, seconds, describe_machine(),
        )  # fmt: skip

    def write(
        self, measured: Sequence[Measurement], settings: BaseModel | None = None, seconds: float | None = None
    ) -> None:
        """Add the numbers; they replace older ones in rows of the same names. Does nothing without --results."""
        if self.results:
            hashed = settings_hash(dump_settings(settings)) if settings else "-"
            self.write_rows(rows_of(measured, self.row(hashed, seconds)))

    def write_rows(self, rows: Sequence[ResultRow]) -> None:
        if self.results:
            record(rows, self.results, self.results_md)


# Recordings

InputsArgument = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="Audio files, folders, patterns such as 'calls/*.wav', or '-' for stdin."),
]
PartialOption = Annotated[
    bool, typer.Option("--partial", help="Accept truncated or damaged recordings and use what can be read.")
]
ChannelChoice = Literal["mix", "left", "right", "each"]
ChannelOption = Annotated[ChannelChoice, typer.Option(help="Channel to use. each: one after the other.")]
RateOption = Annotated[
    int | None,
    typer.Option("--rate", min=1000, metavar="HZ", help="Sample rate of raw 16-bit mono samples on stdin."),
]
_SIDES = ("left", "right")


def choose_channels(
    files: Sequence[str], choice: ChannelChoice, partial: bool = False
) -> tuple[list[str], dict[str, Channel]]:
    """The names of the recordings to process, and file and channel of those names that are not files themselves.

    With ``each``, a file becomes ``talk-left.wav`` and ``talk-right.wav``, or ``talk-channel3.wav``. A file that cannot
    be opened keeps its name, and whoever opens it reports it. Raises UsageError for a stream with ``each``.
    """
    from recitative.audio.files import is_stream

    if choice == "mix":
        return list(files), {}
    if choice != "each":
        return list(files), {file: (file, _SIDES.index(choice)) for file in files}
    channels: dict[str, Channel] = {}
    for file in files:
        if is_stream(file):
            raise UsageError(f"--channel each: {file} can be read only once; save it as a file first")
        count = _count_channels(file, partial)
        if count < 2:
            channels[file] = (file, None)
        for number in range(count if count > 1 else 0):
            side = _SIDES[number] if count == 2 else f"channel{number + 1}"
            channels[str(Path(file).with_name(f"{Path(file).stem}-{side}{Path(file).suffix}"))] = (file, number)
    return list(channels), channels


def _count_channels(file: str, partial: bool) -> int:
    from recitative.audio.files import inspect

    try:
        return inspect(file, partial=partial).channels
    except DataError:
        return 0


@contextmanager
def files_bar(title: str, files: Sequence[str]) -> Iterator[Show]:
    """A progress bar of files, or of the minutes of a single one."""
    with progress_bar(title, clock if len(files) == 1 else count) as show:
        yield show


SHORT_S = 120.0  # of audio in all: opening the model once more takes as long as recognizing a part of it


def processes_for(files: Sequence[str], channels: Mapping[str, Channel], jobs: int) -> int:
    """The number of processes for recordings. jobs: as the user said; 0: one for little audio, else one per core.

    channels: as ``choose_channels`` gives them
    """
    if jobs or len(files) < 2:
        return min(jobs or 1, len(files))
    from recitative.audio.files import inspect, is_stream

    seconds = 0.0
    for name in files:
        file, _ = channels.get(name, (name, None))
        try:
            seconds += SHORT_S if is_stream(file) else inspect(file).duration_s
        except DataError:  # whoever opens it reports it
            continue
        if seconds >= SHORT_S:
            return min(available_cores(), len(files))
    return 1


# Messages on stderr


def print_note(note: str) -> None:
    print(note, file=sys.stderr)


def print_warnings(file: str, transcript: Transcript) -> None:
    """Print the warnings about a recording, such as clipped samples."""
    for warning in transcript.warnings:
        print_note(f"warning: {file}: {warning}")


def print_table(title: str, rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout, in a file without line breaks within rows."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else 1000).print(table)


def require_folder(output: Path, option: str = "--output") -> None:
    """Raises UsageError for a folder that cannot be made or written to. What it made for that it removes: the first
    result makes the folder."""
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".recitative"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{option} {os_problem(error, str(output))}") from None
    with suppress(OSError):  # another program may have begun to write there
        for folder in made:
            folder.rmdir()


class Failures:
    """Reports recordings that fail, each on one line. The other recordings are processed; the exit status is then 1.

    total: number of recordings; what: failed, such as "could not be transcribed"
    """

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._count = 0

    def add(self, error: str) -> None:
        print_note(f"error: {error}")
        self._count += 1

    @contextmanager
    def catch(self, file: str) -> Iterator[None]:
        """Report any exception in the block as a failure of ``file``.

        Write to stdout outside of the block: its errors are not the recording's.
        """
        try:
            yield
        except Exception as error:
            self.add(one_line(file, error))

    def finish(self) -> None:
        """Raises typer.Exit if there were failures."""
        if self._count and self._total > 1:
            print_note(f"{self._count} of {self._total} recordings {self._what}")
        if self._count:
            raise typer.Exit(1)


STDIN_FILE, STDIN = "-", "stdin"
"""Standard input among files, and what it is called."""


def recording_ids(files: Sequence[str]) -> dict[str, str]:
    """An id without white space for each file: the first column of CTM and of Kaldi's tables.

    The file's name without its ending; where two are alike, with the folders in which they differ, as ``folder-name``,
    and else with its ending or a number.
    """
    above = _common_folder(files)
    return _distinct(
        files,
        lambda file: _id(Path(file).stem),
        lambda file: _id("-".join(_below(file, above).with_suffix("").parts)),
        lambda file: _id("-".join(_below(file, above).parts)),
    )


def output_names(files: Sequence[str], inputs: Sequence[str]) -> dict[str, str]:
    """The path of each file's result below a folder, without an ending.

    What was found in a folder of ``inputs`` keeps its place in it, and a file that was named itself its name; where two
    are alike, they keep their place in the folder that holds all files, and else their ending or a number.
    """
    above = _common_folder(files)
    roots = [os.path.abspath(_fixed_part(name)) for name in inputs]
    return _distinct(
        files,
        lambda file: str(_in_root(file, roots).with_suffix("")),
        lambda file: str(_below(file, above).with_suffix("")),
        lambda file: str(_below(file, above)),
    )


def _distinct(files: Sequence[str], *proposals: Callable[[str], str]) -> dict[str, str]:
    """The first proposal for each file that no other file has; case does not count, as on many disks."""
    found: dict[str, str] = {STDIN_FILE: STDIN} if STDIN_FILE in files else {}
    taken = {STDIN} if found else set()
    for propose in proposals:
        proposed = {file: propose(file) for file in files if file not in found}
        count = Counter(name.casefold() for name in proposed.values())
        alone = {file: name for file, name in proposed.items() if count[name.casefold()] == 1}
        found |= {file: name for file, name in alone.items() if name.casefold() not in taken}
        taken |= {name.casefold() for name in found.values()}
    for number, file in enumerate((file for file in files if file not in found), start=1):
        name = f"{proposals[-1](file)}-{number}"
        while name.casefold() in taken:
            name += "-"
        found[file] = name
        taken.add(name.casefold())
    return found


def _id(text: str) -> str:
    return "_".join(text.split()) or "recording"


def _common_folder(files: Sequence[str]) -> str:
    folders = [os.path.dirname(os.path.abspath(file)) for file in files if file != STDIN_FILE]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # none, or on several drives
        return ""


def _below(file: str, folder: str) -> PurePath:
    path = PurePath(os.path.abspath(file))
    return path.relative_to(folder) if folder and path.is_relative_to(folder) else path.relative_to(path.anchor)


def _in_root(file: str, roots: Sequence[str]) -> PurePath:
    """Below the innermost folder of the inputs that holds it."""
    path = PurePath(os.path.abspath(file))
    holding = [root for root in roots if path != PurePath(root) and path.is_relative_to(root)]
    return path.relative_to(max(holding, key=len)) if holding else PurePath(path.name)


def _fixed_part(name: str) -> str:
    """The folders of a pattern before its first wildcard."""
    if os.path.exists(name):
        return name
    fixed: list[str] = []
    for part in PurePath(name).parts[:-1]:
        if any(sign in part for sign in "*?["):
            break
        fixed.append(part)
    return os.path.join(*fixed) if fixed else "."


# Models


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
    known = pretrained.names(*kinds)
    is_other = path == pretrained.path_of(name) and name not in known
    if is_other or not path.exists():
        found = f"is {with_article(title_of(pretrained.KINDS[name]))}" if is_other else "is no model"
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
        from recitative.text.tokens import Lexicon

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
