"""``recitative detect`` and ``anomaly``; and ``score`` for anomaly models."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative import pretrained
from recitative.anomaly.detector import FORECASTER, AnomalyDetector, AnomalySettings, Threshold
from recitative.atomic import json_text, one_writer_of_model, writes
from recitative.cli.options import Failures, PartialOption, Record
from recitative.config import validate_tree
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError
from recitative.terminal import clock, progress_bar

if TYPE_CHECKING:
    from recitative.anomaly.detector import Alarm, Summary
    from recitative.anomaly.evaluation import Scores
    from recitative.data.tables import Utterance

anomaly = typer.Typer(name="anomaly", no_args_is_help=True, help="Set the threshold of an anomaly model.")


@anomaly.command()
@writes("model", one_writer_of_model)
def threshold(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Anomaly model folder, such as exp/hall/model.")],
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
    values = forecaster.settings.model_dump(mode="json")
    given = {"window_s": window_s, "score": score, "false_alarms": false_alarms}
    values["watch"] |= {name: value for name, value in given.items() if value is not None}
    settings = validate_tree(AnomalySettings, values, where="forecaster threshold")
    forecaster = replace(forecaster, settings=settings)
    with progress_bar("score recordings"):
        learned = learn_threshold(forecaster, DataDirectory.read(data).utterances, false_alarms, data)
    save_model(replace(forecaster, threshold=learned), model)
    print(f"{model}: {learned}")


def detect(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Audio files.")],
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
    from recitative.anomaly.detector import Summary
    from recitative.model.stream import document
    from recitative.report.figure import check_suffix

    detector, learned = open_detector(model)
    if learned:
        threshold = learned if limit is None else replace(learned, limit=limit)
    elif limit is not None:
        threshold = Threshold(limit, limit, 0.0, 0)
    else:
        raise UsageError(f"--model {model}: has no threshold; give --limit, or run 'recitative anomaly threshold'")
    if picture and len(files) > 1:
        raise UsageError(f"--picture: shows one recording, but there are {len(files)}")
    if picture:
        check_suffix(picture)
    failures = Failures(len(files), "could not be processed")
    seen: list[tuple[str, Summary]] = []

    def alarms() -> Iterator[tuple[str, Alarm]]:
        for file in files:
            with failures.catch(file):
                summary = Summary()
                for alarm in _alarms_of(file, summary, detector, threshold, picture, partial):
                    yield file, alarm
                seen.append((file, summary))

    for file, alarm in alarms():
        if format == "text":
            print(f"{file}\t{alarm.start_s:.2f}\t{alarm.end_s:.2f}\t{alarm.score:.3f}", flush=True)
    if format == "json":
        name = pretrained.name_of(model)
        print(json_text([document(name, {"file": file}, one.to_dict(threshold)) for file, one in seen], indent=2))
    failures.finish()


def open_detector(model: Path) -> tuple[AnomalyDetector, Threshold | None]:
    """Open an anomaly model and its threshold: a folder with PyTorch, an exported file with ONNX Runtime."""
    from recitative.kinds import open_model

    detector: AnomalyDetector = open_model(pretrained.find(str(model)), [FORECASTER])
    return detector, detector.threshold


def _alarms_of(
    file: str, summary: Summary, detector: AnomalyDetector, threshold: Threshold, picture: Path | None, partial: bool
) -> Iterator[Alarm]:
    """Yield each alarm when it ends, then write the picture."""
    from recitative.anomaly.evaluation import Overview
    from recitative.audio.files import on_disk

    overview = Overview(detector) if picture else None
    with on_disk(file) as path, progress_bar(Path(file).name, clock) as show:
        for block in detector.detect_file(Path(path), threshold=threshold, partial=partial):
            if overview:
                overview.accept(block)
            summary.add(block)
            yield from block.alarms
            show(block.duration_s, block.total_s)
    if picture and overview:
        overview.write(picture, Path(file).name, threshold.limit, summary.alarms, summary.duration_s)


# ``recitative score``


def score(
    model: Path,
    data: Path,
    record: Record,
    *,
    unusual: Path | None = None,
    baseline: Path | None = None,
    as_json: bool = False,
) -> None:
    """Print the NLL of normal recordings, and with ``unusual`` the area under the ROC curve (AUC) of each score."""
    if record.decoding != "-":
        raise UsageError("--decoding: not for a forecaster; leave it out")
    started = time.perf_counter()
    from recitative.score.classification import area_measured

    detector = open_detector(model)[0]
    normal = DataDirectory.read(data).utterances
    fitted = DataDirectory.read(baseline).utterances if baseline else ()
    areas = {}
    with progress_bar("score recordings"):
        scores = _scores(detector, normal, data, fitted)
        nats = sum(scores.pop("nats")) / len(normal)
        if unusual:
            others = _scores(detector, DataDirectory.read(unusual).utterances, unusual, fitted)
            areas = {how: area_measured(values, others[how]) for how, values in scores.items()}
    for how, measured in areas.items():
        replace(record, decoding=how).write([measured], detector.settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps({"nats": nats, "recordings": len(normal)} | {how: one.value for how, one in areas.items()}))
        return
    print(f"{nats:.4f} nats per frame and dimension ({len(normal)} recordings)")
    for how, measured in areas.items():
        print(f"{how:<8} AUC {measured.value:.3f} ({measured.counts})")


def _scores(
    detector: AnomalyDetector, utterances: Sequence[Utterance], where: Path, fitted: Sequence[Utterance]
) -> Scores:
    from recitative.anomaly.evaluation import BaselineScores, features_of, recording_scores

    scores = recording_scores(detector, utterances, where)
    if fitted:
        baselines = BaselineScores(features_of(detector, fitted, where))
        scores |= baselines.of(features_of(detector, utterances, where))
    return scores
