"""Anomaly models: train, learn the threshold, score."""

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

anomaly = typer.Typer(name="anomaly", no_args_is_help=True, help="Set the threshold of an anomaly model.")

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="Anomaly model folder, such as exp/hall/model.")]


@anomaly.command()
@writes("model", one_writer_of_model)
def threshold(
    model: ModelArgument,
    data: Annotated[
        Path, typer.Argument(help="Data directory of normal recordings that the model was not trained on.")
    ],
    false_alarms: Annotated[
        float, typer.Option(min=0.0, max=0.999, help="Fraction of their windows above the threshold.")
    ] = 0.01,
    window_s: Annotated[
        float | None, typer.Option(help="Window length in seconds. Default: the model's setting.")
    ] = None,
    score: Annotated[
        Literal["ratio", "surprise"] | None,
        typer.Option(
            help="ratio: likelihood ratio to an autoregression of the window; surprise: NLL, for short events."
        ),
    ] = None,
) -> None:
    """Set the threshold of an anomaly model on normal recordings. The network does not change.

    \b
    recitative anomaly threshold exp/hall/model data/normal --false-alarms 0.001
    """
    from recitative.anomaly.task import learn_threshold
    from recitative.model.folder import load_model, save_model

    forecaster = load_model(model, FORECASTER)
    wanted = {"window_s": window_s, "score": score, "false_alarms": false_alarms}
    forecaster = replace(forecaster, settings=_watching(forecaster.settings, wanted))
    learned = learn_threshold(forecaster, DataDirectory.read(data).utterances, false_alarms, data)
    save_model(replace(forecaster, threshold=learned), model)
    print(f"{model}: {learned}")


def score(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="A data directory of usual recordings.")],
    unusual: Annotated[Path | None, typer.Option(help="Recordings that are to be told from them.")] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", "--beside", help="With --unusual: also scores that know no past, fitted to these recordings."
        ),
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
    if baseline and not unusual:
        raise UsageError("--baseline: needs recordings to tell apart; add --unusual")
    started = time.perf_counter()
    record = Record(results, results_md, name, set_name, "-", command)
    from recitative.model.folder import load_model

    forecaster = load_model(model, FORECASTER)
    usual = DataDirectory.read(data).utterances
    fitted = DataDirectory.read(baseline).utterances if baseline else ()
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
