"""``recitative forecaster``: models that say what comes next in a sound: train one, measure it, put it into a file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative.anomaly.kind import FORECASTER
from recitative.anomaly.settings import ForecasterSettings
from recitative.cli.notes import NotesFile, read_notes
from recitative.cli.results import (
    CommandOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.config import validate_tree
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError
from recitative.lock import one_writer_of_model, writes

if TYPE_CHECKING:
    from recitative.anomaly.network import Forecaster
    from recitative.anomaly.scoring import Scores
    from recitative.data.tables import Utterance
    from recitative.score.results import Measurement

app = typer.Typer(
    no_args_is_help=True,
    help="Models that say what comes next in a sound, for 'watch': train one on usual recordings, measure it.",
)

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A forecaster's folder, such as EXP/model.")]


@app.command()
@writes("model", one_writer_of_model)
def threshold(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="A data directory of usual recordings that it was not trained on.")],
    false_alarms: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="The part of their windows that may be called unusual.")
    ] = 0.01,
    window_s: Annotated[
        float | None, typer.Option(help="Seconds that are judged together; default: as the model has it.")
    ] = None,
    score: Annotated[
        Literal["ratio", "surprise"] | None,
        typer.Option(help="ratio: beside the window's own order; surprise: the likelihood alone, for short events."),
    ] = None,
) -> None:
    """Learn from usual recordings what is unusual, and write it into the model; the network stays as it is."""
    from recitative.anomaly.task import learn_threshold
    from recitative.model.folder import load_model, save_model

    forecaster = load_model(model, FORECASTER)
    wanted = {"window_s": window_s, "score": score, "false_alarms": false_alarms}
    forecaster = replace(forecaster, settings=_watching(forecaster.settings, wanted))
    learned = learn_threshold(forecaster, DataDirectory.read(data).utterances, false_alarms, data)
    save_model(replace(forecaster, threshold=learned), model)
    print(f"{model}: {learned}")


@app.command()
def score(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="A data directory of usual recordings.")],
    unusual: Annotated[Path | None, typer.Option(help="Recordings that are to be told from them.")] = None,
    beside: Annotated[
        Path | None, typer.Option(help="With --unusual: also scores that know no past, fitted to these recordings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object.")] = False,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    command: CommandOption = "-",
) -> None:
    """Print how surprising recordings are, and how well strangeness tells unusual ones from usual ones.

    The area under the ROC curve (AUC) of whole recordings: 1 without fault, 0.5 not at all.
    """
    if beside and not unusual:
        raise UsageError("--beside: compares how recordings are told apart; name others with --unusual")
    started = time.perf_counter()
    record = Record(results, results_md, name, set_name, "-", command)
    from recitative.model.folder import load_model

    forecaster = load_model(model, FORECASTER)
    usual = DataDirectory.read(data).utterances
    fitted = DataDirectory.read(beside).utterances if beside else ()
    first = _scores(forecaster, usual, data, fitted)
    nats = sum(first.pop("nats")) / len(usual)
    areas = {}
    if unusual:
        second = _scores(forecaster, DataDirectory.read(unusual).utterances, unusual, fitted)
        areas = _areas(first, second)
    for how, measured in areas.items():
        replace(record, decoding=how).write([measured], forecaster.settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps({"nats": nats, "recordings": len(usual)} | {how: one.value for how, one in areas.items()}))
        return
    print(f"{nats:.4f} nats per frame and dimension ({len(usual)} recordings)")
    for how, measured in areas.items():
        print(f"{how:<8} AUC {measured.value:.3f} ({measured.counts})")


@app.command()
def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Option(help="The file to write, such as watch.onnx.")],
    notes: NotesFile = None,
) -> None:
    """Write the network with its state as inputs and outputs, settings and threshold into one file.

    The file runs without PyTorch.
    """
    from recitative.export.file import export_model
    from recitative.model.folder import load_model

    size = export_model(load_model(model, FORECASTER), output, notes=read_notes(notes))
    print(f"{output}: float32, {size / 1e6:.1f} MB")


def _watching(settings: ForecasterSettings, wanted: dict[str, Any]) -> ForecasterSettings:
    """The settings with another ``watch``, where something is wanted. Raises UsageError for a window that is none."""
    values = settings.model_dump(mode="json")
    values["watch"] |= {name: value for name, value in wanted.items() if value is not None}
    return validate_tree(ForecasterSettings, values, where="forecaster threshold")


def _scores(
    forecaster: Forecaster, utterances: Sequence[Utterance], where: Path, fitted: Sequence[Utterance]
) -> Scores:
    from recitative.anomaly.scoring import PlainScores, frames_of, strangeness_of

    scores = strangeness_of(forecaster, utterances, where)
    if fitted:
        plain = PlainScores(frames_of(fitted, forecaster, where))
        scores |= plain.of(frames_of(utterances, forecaster, where))
    return scores


def _areas(usual: Scores, unusual: Scores) -> dict[str, Measurement]:
    from recitative.score.classes import area_measured

    return {how: area_measured(scores, unusual[how]) for how, scores in usual.items()}
