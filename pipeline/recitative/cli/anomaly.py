"""``recitative detect`` and ``anomaly``: anomalous segments of recordings, thresholds, scores."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative.anomaly.detector import AnomalyDetector
from recitative.anomaly.kind import FORECASTER, AnomalySettings, Threshold
from recitative.atomic import json_text
from recitative.cli.options import (
    CommandOption,
    Failures,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.cli.recordings import PartialOption
from recitative.config import validate_tree
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError
from recitative.lock import one_writer_of_model, writes
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from recitative.anomaly.evaluation import Scores
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
    detector = open_detector(model)[0]
    usual = DataDirectory.read(data).utterances
    fitted = DataDirectory.read(baseline).utterances if baseline else ()
    first = _scores(detector, usual, data, fitted)
    nats = sum(first.pop("nats")) / len(usual)
    areas = {}
    if unusual:
        second = _scores(detector, DataDirectory.read(unusual).utterances, unusual, fitted)
        areas = _areas(first, second)
    for how, measured in areas.items():
        replace(record, decoding=how).write([measured], detector.settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps({"nats": nats, "recordings": len(usual)} | {how: one.value for how, one in areas.items()}))
        return
    print(f"{nats:.4f} nats per frame and dimension ({len(usual)} recordings)")
    for how, measured in areas.items():
        print(f"{how:<8} AUC {measured.value:.3f} ({measured.counts})")


def _watching(settings: AnomalySettings, wanted: dict[str, Any]) -> AnomalySettings:
    """The settings with another ``watch``, where something is wanted. Raises UsageError for a window that is none."""
    values = settings.model_dump(mode="json")
    values["watch"] |= {name: value for name, value in wanted.items() if value is not None}
    return validate_tree(AnomalySettings, values, where="forecaster threshold")


def _scores(
    detector: AnomalyDetector, utterances: Sequence[Utterance], where: Path, fitted: Sequence[Utterance]
) -> Scores:
    from recitative.anomaly.evaluation import BaselineScores, features_of, recording_scores

    scores = recording_scores(detector, utterances, where)
    if fitted:
        baselines = BaselineScores(features_of(detector, fitted, where))
        scores |= baselines.of(features_of(detector, utterances, where))
    return scores


def _areas(usual: Scores, unusual: Scores) -> dict[str, Measurement]:
    from recitative.score.classification import area_measured

    return {how: area_measured(scores, unusual[how]) for how, scores in usual.items()}


# ``recitative detect``: what is unusual in recordings, and when.

if TYPE_CHECKING:
    from recitative.anomaly.detector import Alarm, Summary


def detect(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio files.")],
    model: Annotated[Path, typer.Option(help="Anomaly model: model folder such as exp/hall/model, or exported file.")],
    limit: Annotated[float | None, typer.Option(help="Threshold of the anomaly score. Default: the model's.")] = None,
    format: Annotated[
        Literal["text", "json"], typer.Option(help="text: file, start, end and anomaly score, one line per segment.")
    ] = "text",
    partial: PartialOption = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="Write the anomaly score and the spectrogram of one recording to an SVG or PNG file."),
    ] = None,
) -> None:
    """Print anomalous segments with start, end and score.

    Unreadable files are reported and skipped; the exit status is then 1.

    \b
    recitative detect night.wav --model exp/hall/model.onnx --picture night.svg
    """
    from recitative import pretrained
    from recitative.anomaly.detector import Summary
    from recitative.model.stream import document

    detector, learned = open_detector(model)
    threshold = _threshold(learned, limit, model)
    if picture:
        _require_one(picture, files)
    failures = Failures(len(files), "could not be watched")
    seen: list[tuple[str, Summary]] = []

    def alarms() -> Iterator[tuple[str, Alarm]]:
        for file in files:
            with failures.of(file):
                summary = Summary()
                for alarm in _watched(file, summary, detector, threshold, picture, partial):
                    yield file, alarm
                seen.append((file, summary))

    for file, alarm in alarms():
        if format == "text":
            _print_alarm(file, alarm)
    if format == "json":
        name = pretrained.name_of(model)
        print(json_text([document(name, {"file": file}, one.to_dict(threshold)) for file, one in seen], indent=2))
    failures.finish()


def open_detector(model: Path) -> tuple[AnomalyDetector, Threshold | None]:
    """A folder runs on PyTorch, a file on ONNX Runtime, which needs no PyTorch. Raises DataError for neither."""
    from recitative import pretrained
    from recitative.kinds import open_model

    detector: AnomalyDetector = open_model(pretrained.find(str(model)), [FORECASTER])
    return detector, detector.threshold


def _watched(
    file: str, summary: Summary, detector: AnomalyDetector, threshold: Threshold, picture: Path | None, partial: bool
) -> Iterator[Alarm]:
    """Alarms as they end; the picture is written behind the last one."""
    from recitative.anomaly.evaluation import Overview
    from recitative.audio.files import on_disk

    overview = Overview(detector) if picture else None
    with on_disk(file) as path, progress_bar(Path(file).name) as show:
        for block in detector.detect_file(Path(path), threshold=threshold, partial=partial):
            if overview:
                overview.accept(block)
            summary.add(block)
            yield from block.alarms
            show(block.duration_s, round(block.total_s))
    if picture and overview:
        overview.write(picture, Path(file).name, threshold.limit, summary.alarms, summary.duration_s)


def _print_alarm(file: str, alarm: Alarm) -> None:
    print(f"{file}\t{alarm.start_s:.2f}\t{alarm.end_s:.2f}\t{alarm.score:.3f}", flush=True)


def _threshold(learned: Threshold | None, limit: float | None, model: Path) -> Threshold:
    """Raises UsageError where there is none."""
    if learned and limit is not None:
        return replace(learned, limit=limit)
    if limit is not None:
        return Threshold(limit, limit, 0.0, 0)
    if not learned:
        raise UsageError(f"--model {model}: has no limit; give --limit, or run 'recitative anomaly threshold'")
    return learned


def _require_one(picture: Path, files: Sequence[str]) -> None:
    """Raises UsageError for several recordings, and for a file that is neither SVG nor PNG."""
    from recitative.report.figure import check_suffix

    if len(files) > 1:
        raise UsageError(f"--picture: shows one recording; {len(files)} are named")
    check_suffix(picture)
