"""``recitative info``, ``score``, ``export`` and ``report``: one verb for models of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative import pretrained
from recitative.atomic import recover_folder
from recitative.classification.kind import CLASSIFIER
from recitative.cli import anomaly, classify, lm, music, sound
from recitative.cli import report as experiment
from recitative.cli import score as text
from recitative.cli import text as text_verbs
from recitative.cli.models import find_model
from recitative.cli.options import (
    CommandOption,
    HowOption,
    NameOption,
    NotesFile,
    ResultsOption,
    SetOption,
    TableOption,
    read_notes,
)
from recitative.errors import UsageError
from recitative.kinds import kind_of
from recitative.model.kind import SETTINGS, ModelKind
from recitative.terminal import progress_bar


def info(
    model: Annotated[str, typer.Argument(help="Exported file, or name of a pretrained model.")],
    settings: Annotated[bool, typer.Option("--settings", help="Also print the settings of the training.")] = False,
) -> None:
    """Describe a model file: kind, size, inputs, outputs, notes.

    \b
    recitative info model.onnx --settings
    """
    from recitative.config import dump_settings
    from recitative.kinds import read_metadata

    path = find_model(model)
    metadata = read_metadata(path)
    core = metadata.settings.model.recurrent
    weights = f"{metadata.weights}, ".removeprefix(", ")
    rows = {
        "file": f"{path}, {path.stat().st_size / 1e6:.1f} MB, {weights}{metadata.parameters / 1e6:.2f} M parameters",
        "core": f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}",
    }
    for name, value in (rows | metadata.kind.describe(metadata)).items():
        print(f"{name:<8} {value}")
    if metadata.notes:
        print(f"\n{metadata.notes.rstrip()}")
    if settings:
        print(f"\n{dump_settings(metadata.settings)}", end="")


def models() -> None:
    """List the models that are included.

    \b
    recitative models
    recitative info en      # what it was trained on, size, latency, tokens
    """
    for name in pretrained.names():
        path = pretrained.path_of(name)
        assert path, "it is one of the names"
        print(f"{name:<18} {path.stat().st_size / 1e6:4.1f} MB  {pretrained.FOR[name]}")


# ``recitative score``, ``export`` and ``report``: one verb for models of every kind.

if TYPE_CHECKING:
    from recitative.model.export.quantization import Weights

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

SCORERS: Mapping[str, Callable[..., None]] = {
    "classifier": classify.score,
    "forecaster": anomaly.score,
    "language_model": lm.perplexity_of,
    "music": music.score,
    "punctuation": text_verbs.score_punctuation,
    "events": music.score,
    "sound": sound.score,
    "spectrogram": sound.score,
}
RECOGNITION, CLASSIFIERS, ANOMALY, MUSIC = "Speech recognition", "Classifiers", "Anomaly models", "Music"
EXPERIMENT = "Experiments with recognizers"


def score(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Model folder, exported file, or a pretrained model's name.")
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data directory, or folder of MIDI or ABC files.")],
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
    as_json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for alignments, speakers and confusions. Required.", rich_help_panel=RECOGNITION),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Settings file whose hash goes into the results.", rich_help_panel=RECOGNITION)
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Decoding time, for the results.", rich_help_panel=RECOGNITION)
    ] = None,
    train_seconds: Annotated[
        float | None, typer.Option(help="Training time, for the results.", rich_help_panel=RECOGNITION)
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(help="words.jsonl from decoding, to score confidences.", rich_help_panel=RECOGNITION),
    ] = None,
    aligned: Annotated[
        Path | None,
        typer.Option(help="alignment.jsonl from 'align', to score word times.", rich_help_panel=RECOGNITION),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Token table: count tokens, not words.", rich_help_panel=RECOGNITION)
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon, if --tokens are phones.", rich_help_panel=RECOGNITION)
    ] = None,
    all_speeds: Annotated[
        bool,
        typer.Option(
            "--all-speeds", help="Average the predictions at all speeds of the training.", rich_help_panel=CLASSIFIERS
        ),
    ] = False,
    unusual: Annotated[
        Path | None, typer.Option(help="Data directory of anomalous recordings.", rich_help_panel=ANOMALY)
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Data directory for baselines without memory; with --unusual.", rich_help_panel=ANOMALY),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--with", help="Further model; the mean of all predictions is scored.", rich_help_panel=MUSIC),
    ] = None,
) -> None:
    """Score a model on data, or transcribed text against its transcripts.

    \b
    Recognizer:     recitative score data/test exp/decode_test/text --output exp/score
                    prints WER, CER and SER of text from 'recitative decode'
    Classifier:     accuracy, recall and confusions
    Anomaly model:  NLL, and the area under the ROC curve with --unusual
    Music, sound:   NLL of pieces or recordings
    Language model: perplexity
    Punctuation:    precision, recall and F1 of each mark and of capitals, on a text file

    \b
    recitative score exp/small/model data/test
    recitative score exp/small/model.onnx data/test --results results.jsonl --model small --set test
    """
    path = pretrained.find(model)
    recover_folder(path)
    if not (path.is_file() or (path / SETTINGS).exists()):  # a data directory
        if not output:
            raise UsageError("--output: missing; name a folder for alignments and confusions")
        text.score(model, data, **_given(context, text.score, "decoded text"))
        return
    is_ngram = path.is_file() and not path.name.endswith((".onnx", ".onnx.gz"))
    kind = "language_model" if is_ngram else kind_of(path).name
    if kind not in SCORERS:
        remedy = f"run 'recitative decode {model} {data} --output OUT' and score OUT/text"
        raise UsageError(f"{model}: recognizers are scored on decoded text; {remedy}")
    SCORERS[kind](model, data, **_given(context, SCORERS[kind], f"a {kind}"))


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, such as exp/lstm/model.")],
    output: Annotated[Path, typer.Option(help="File to write, such as model.onnx.")],
    dev: Annotated[Path | None, typer.Option(help="Data directory on which int8 is compared with float32.")] = None,
    weights: Annotated[
        Literal["auto", "int8", "float32"],
        typer.Option(
            help="auto: int8 if it costs at most 0.2 % of WER or accuracy on --dev; music, sound, text: float32."
        ),
    ] = "auto",
    notes: NotesFile = None,
) -> None:
    """Export a model of any kind to one ONNX file, which needs no PyTorch.

    The file holds the network with its state as inputs and outputs, the settings, and tokens, labels or thresholds.

    \b
    recitative export exp/lstm/model --dev data/dev --output lstm.onnx
    """
    kind = kind_of(model)
    if kind.int8 not in ("", "weights"):
        _export_checked(model, kind, output, dev, weights, read_notes(notes))
        return
    if dev:
        raise UsageError("--dev: only for recognizers and classifiers; leave it out")
    if weights == "int8" and not kind.int8:
        raise UsageError(f"--weights int8: a {kind.name} model has only float32; leave it out")
    from recitative.model.export.file import export_model
    from recitative.model.folder import load_model

    written = "int8" if weights == "int8" else "float32"
    size = export_model(load_model(model, kind), output, notes=read_notes(notes), int8=written == "int8")
    print(f"{output}: {written}, {size / 1e6:.1f} MB")


def _export_checked(model: Path, kind: ModelKind, output: Path, dev: Path | None, weights: Weights, notes: str) -> None:
    """Print the error rates of float32 and int8 on ``dev``."""
    from recitative.model.export.quantization import export_checked
    from recitative.model.folder import load_model

    with progress_bar("compare on dev") as show:
        done = export_checked(load_model(model, kind), output, dev=dev, weights=weights, notes=notes, advance=show)
    for form, errors in (("float32", done.float32_errors), ("int8", done.int8_errors)):
        if errors is not None:
            rate = f"WER {100 * errors.rate:.2f} % [ {errors.errors} / {errors.ref} ]"
            if kind is CLASSIFIER:
                rate = f"accuracy {100 * (1 - errors.rate):.2f} % [ {errors.correct} / {errors.ref} ]"
            print(f"{form:>7}: dev {rate}{'  <- written' if form == done.weights else ''}")
    saved = f", float32 would be {done.float32_size / 1e6:.1f} MB" if done.weights == "int8" else ""
    print(f"{output}: {done.weights}, {done.size / 1e6:.1f} MB{saved}")


def report(
    context: typer.Context,
    what: Annotated[
        Path, typer.Argument(metavar="WHAT", help="Experiment folder, classifier, or folder of generated pieces.")
    ],
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help="For a classifier: labeled data.")] = None,
    output: Annotated[Path | None, typer.Option(help="Page to write. Default: WHAT/report.html.")] = None,
    title: Annotated[str, typer.Option(help="Title of the page.", rich_help_panel=CLASSIFIERS)] = "",
    worst: Annotated[int, typer.Option(min=0, help="Worst utterances of each set.", rich_help_panel=EXPERIMENT)] = 12,
    errors: Annotated[
        int, typer.Option(min=0, help="Most confident errors to list.", rich_help_panel=CLASSIFIERS)
    ] = 20,
    originals: Annotated[
        Path | None, typer.Option(help="Pieces to compare with. Required.", rich_help_panel=MUSIC)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers.", rich_help_panel=MUSIC)] = False,
    players: Annotated[int, typer.Option(min=0, help="Pieces with players.", rich_help_panel=MUSIC)] = 12,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Add sound.", rich_help_panel=MUSIC)] = True,
    soundfont: Annotated[
        Path | None, typer.Option(help="sf2 or sf3 file for the sound.", rich_help_panel=MUSIC)
    ] = None,
    steps_per_quarter: Annotated[
        int, typer.Option(min=1, max=48, help="Grid of the comparison.", rich_help_panel=MUSIC)
    ] = 4,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Write an HTML page about an experiment, a classifier or generated music. The page needs no other file.

    \b
    recitative report exp/lstm                                        curves, errors, worst utterances
    recitative report exp/small/model data/test --output report.html  accuracy, confusions, errors to listen to
    recitative report exp/samples --originals data/train              statistics, copies, piano rolls, players
    """
    if originals:
        music.report(what, **_given(context, music.report, "music"))
    elif data:
        if not output:
            raise UsageError("--output: missing; name the page to write, such as report.html")
        classify.report(what, data, **_given(context, classify.report, "a classifier"))
    else:
        experiment.report(what, **_given(context, experiment.report, "an experiment of a recognizer"))


def _given(context: typer.Context, function: Callable[..., None], what: str) -> dict[str, Any]:
    """The options on the command line, for ``function``. Raises UsageError for those that it does not take."""
    accepted = signature(function).parameters
    given = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.param_type_name == "option" and source and source.name == "COMMANDLINE":
            if parameter.name not in accepted:
                raise UsageError(f"{parameter.opts[0]}: not for {what}; leave it out")
            given[parameter.name] = context.params[parameter.name]
    return given
