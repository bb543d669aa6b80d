"""``recitative classify``, ``detect`` and ``anomaly``; ``score`` for both kinds, ``report`` for classifiers."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial as partial_
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative import pretrained
from recitative.anomaly.detector import FORECASTER, AnomalyDetector, AnomalySettings, Threshold
from recitative.atomic import json_text, one_writer_of_model, writes
from recitative.cli.live import open_device, warn_of_overruns
from recitative.cli.options import Failures, PartialOption, Record, open_classifier, print_note
from recitative.config import validate_tree
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError, counted
from recitative.score.classification import wilson_interval
from recitative.terminal import clock, progress_bar, track

if TYPE_CHECKING:
    from recitative.anomaly.detector import Alarm, Scores, Summary
    from recitative.classification.classifier import Classifier, Label
    from recitative.classification.evaluation import Report
    from recitative.data.tables import Utterance


Row = tuple[str, "Label"]
MICROPHONE_BLOCK_S = 0.16  # at most
AllSpeedsOption = Annotated[
    bool, typer.Option("--all-speeds", help="Average the predictions at all speeds of the training.")
]


def classify(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Audio files, folders, patterns such as 'calls/*.wav', or '-' for stdin."),
    ] = None,
    *,
    model: Annotated[Path, typer.Option(help="Classifier: model folder such as exp/small/model, or exported file.")],
    top: Annotated[int, typer.Option(min=1, help="Number of labels to print, most probable first.")] = 1,
    every: Annotated[
        float | None, typer.Option(min=0.01, metavar="SECONDS", help="Print a prediction every so many seconds.")
    ] = None,
    all_speeds: AllSpeedsOption = False,
    format: Annotated[
        Literal["text", "json", "csv"], typer.Option(help="text: file, label and probability; json: a list; csv.")
    ] = "text",
    partial: PartialOption = False,
    microphone: Annotated[
        bool, typer.Option("--microphone", help="Classify the microphone. Requires --every; Ctrl-C stops.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="Microphone: number or part of the name, see 'recitative listen --list-devices'.")
    ] = "",
    raw: Annotated[
        int | None,
        typer.Option(
            "--rate", "--raw", min=1000, metavar="HZ", help="Sample rate of raw 16-bit mono samples on stdin."
        ),
    ] = None,
) -> None:
    """Classify recordings.

    Unreadable files are reported and skipped; the exit status is then 1. Without --every, recordings are at most
    one hour long.

    \b
    recitative classify sounds/ --model exp/small/model.onnx --top 3
    recitative classify --microphone --every 0.5 --model exp/small/model.onnx
    """
    from recitative.audio.files import expand

    if not (files or microphone):
        raise UsageError("no input: give FILE..., '-' for stdin, or --microphone")
    if files and microphone:
        raise UsageError("FILE... and --microphone exclude each other; give one")
    if microphone and not every:
        raise UsageError("--microphone requires --every SECONDS")
    if device and not microphone:
        raise UsageError("--device requires --microphone")
    if raw and not (every and files == ["-"]):
        raise UsageError("--rate: only for raw samples on stdin; requires '-' alone and --every SECONDS")
    if every and all_speeds:
        raise UsageError("--all-speeds and --every exclude each other; give one")
    classifier = open_classifier(model, all_speeds=all_speeds)
    if every:
        classifier.stream()  # raises for a model that cannot, before any input is opened
    as_json = partial_(_write_json, pretrained.name_of(model))
    writers: dict[str, Callable[[Iterator[Row], int, bool], None]]
    writers = {"text": _write_text, "json": as_json, "csv": _write_csv}
    write = writers[format]
    if microphone and every:
        with suppress(KeyboardInterrupt):
            write((("microphone", label) for label in _classify_microphone(classifier, device, every)), top, True)
        return
    names = expand(files or [], print_note)
    failures = Failures(len(names), "could not be classified")

    def rows() -> Iterator[Row]:
        for name in names if names == ["-"] else track(names, "classify", len(names)):
            with failures.catch(name):
                if name == "-" and every:
                    labels = _classify_pipe(classifier, every, raw)
                else:
                    labels = _classify_file(classifier, name, every, all_speeds, partial)
                for label in labels:
                    yield name, label

    write(rows(), top, every is not None)
    failures.finish()


def _classify_file(
    classifier: Classifier, name: str, every: float | None, all_speeds: bool, partial: bool
) -> Iterator[Label]:
    """Labels after each ``every`` seconds, or one at the end."""
    from recitative.audio.files import on_disk

    def warn(warning: str) -> None:
        print_note(f"warning: {name}: {warning}")

    with on_disk(name) as path:
        if every:
            yield from classifier.stream_file(path, every, partial=partial, on_warning=warn)
        else:
            yield classifier.classify_file(path, all_speeds=all_speeds, partial=partial, on_warning=warn)


def _classify_pipe(classifier: Classifier, every: float, raw: int | None) -> Iterator[Label]:
    """Labels of stdin while it is read. Formats other than WAV and raw samples are stored on disk until it ends."""
    from recitative.audio.files import STANDARD_INPUT, on_disk
    from recitative.audio.live import PipedFormat, piped_blocks, read_wav_header
    from recitative.classification.classifier import BLOCK_S

    pipe = sys.stdin.buffer
    head, form = (b"", PipedFormat(raw)) if raw else read_wav_header(pipe)
    if form:
        blocks = piped_blocks(pipe, form, min(every, BLOCK_S), STANDARD_INPUT)
        yield from classifier.stream_blocks(blocks, form.sample_rate, every, where=STANDARD_INPUT)
    else:
        with on_disk("-", head) as path:
            yield from classifier.stream_file(path, every)


def _classify_microphone(classifier: Classifier, device: str, every: float) -> Iterator[Label]:
    """Labels until Ctrl-C, and one of the rest; then a warning about dropped blocks."""

    def blocks() -> Iterator[Any]:
        with suppress(KeyboardInterrupt):
            for block in live.blocks():
                yield block.samples

    with open_device(device, every / ceil(every / MICROPHONE_BLOCK_S)) as live:
        print_note("listening; Ctrl-C ends it")
        yield from classifier.stream_blocks(blocks(), live.sample_rate, every)
    warn_of_overruns(live)


def _write_text(rows: Iterator[Row], top: int, timed: bool) -> None:
    for name, running in rows:
        time = [f"{running.end_s:.2f}"] if timed else []
        labels = [f"{one.label} {one.probability:.4f}" for one in running.predictions[:top]]
        print("\t".join([name, *time, *labels]), flush=timed)


def _write_json(model: str, rows: Iterator[Row], top: int, timed: bool) -> None:
    """A list with one object per line, each written at once: a long recording has many."""
    from recitative.model.stream import document

    separator = "[\n"
    for name, running in rows:
        print(separator + json_text(document(model, {"file": name}, running.to_dict(top))), end="", flush=timed)
        separator = ",\n"
    print("\n]" if separator == ",\n" else "[]")


def _write_csv(rows: Iterator[Row], top: int, timed: bool) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", *(["time"] if timed else []), "rank", "label", "probability"])
    for name, running in rows:
        time = [f"{running.end_s:.3f}"] if timed else []
        for rank, one in enumerate(running.predictions[:top], start=1):
            writer.writerow([name, *time, rank, one.label, f"{one.probability:.6f}"])


# ``recitative score`` and ``report``


def score_classifier(
    model: Path, data: Path, record: Record, *, all_speeds: bool = False, as_json: bool = False
) -> None:
    """Print accuracy with its 95 % interval (Wilson), unweighted average recall, and the confusion matrix."""
    started = time.perf_counter()
    from recitative.classification.evaluation import classify_directory

    classifier = open_classifier(model, all_speeds=all_speeds)
    with progress_bar("score") as show:
        labeled = classify_directory(classifier, data, show, all_speeds=all_speeds)
    found = labeled.confusions
    record.write(found.measured(), classifier.settings, time.perf_counter() - started)
    low, high = wilson_interval(found.correct, found.total)
    if as_json:
        scores = {
            "accuracy": found.accuracy,
            "interval": [low, high],
            "unweighted_average_recall": found.unweighted_average_recall,
            "nats_per_recording": labeled.nll,
            "recordings": found.total,
            "correct": found.correct,
            "labels": found.labels,
            "recalls": found.recalls,
            "confusions": found.counts.tolist(),
        }
        print(json.dumps(scores, ensure_ascii=False))
        return
    print(
        f"accuracy {found.accuracy:.2%} ({found.correct} / {found.total}; 95 %: {low:.2%} to {high:.2%}), "
        f"unweighted average recall {found.unweighted_average_recall:.2%}\n"
    )
    print(found.table())


def report(
    model: Path, data: Path, output: Path, *, errors: int = 20, title: str = "", compare: Path | None = None
) -> None:
    """Write accuracy, recalls, confusions, calibration and the most confident errors to one HTML file."""
    from recitative.classification.evaluation import write_report

    made = new_report(model, data, compare, title=title)
    with progress_bar("report") as show:
        write_report(made, output, errors=errors, progress=show)
    print(output)


def new_report(model: Path, data: Path, compare: Path | None = None, *, title: str = "", live: bool = False) -> Report:
    """Classify the data with a model, and with another one to compare with it."""
    from recitative.classification.evaluation import Report, classify_directory

    names = [str(path) for path in (model, compare) if path]
    classifiers = [open_classifier(Path(name)) for name in names]
    with progress_bar("label") as show:
        labeled = [classify_directory(classifier, data, show) for classifier in classifiers]
    title = title or f"{' and '.join(names)} on {data}"
    return Report(title, names, labeled, classifiers[0].settings, live)


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
        Literal["ratio", "nll"] | None,
        typer.Option(
            help="ratio: likelihood ratio to an autoregression of the window; nll: NLL alone, for short events."
        ),
    ] = None,
) -> None:
    """Set the threshold of an anomaly model on normal recordings. The network does not change.

    \b
    recitative anomaly threshold exp/hall/model data/normal --false-alarms 0.001
    recitative anomaly threshold exp/hall/model data/normal --score nll --window-s 0.1  # for short events
    """
    from recitative.anomaly.task import learn_threshold
    from recitative.model.folder import load_model, save_model

    forecaster = load_model(model, FORECASTER)
    values = forecaster.settings.model_dump(mode="json")
    given = {"window_s": window_s, "score": score, "false_alarms": false_alarms}
    values["detection"] |= {name: value for name, value in given.items() if value is not None}
    settings = validate_tree(AnomalySettings, values, where="anomaly threshold")
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
    recitative detect nights/*.wav --model exp/hall/model.onnx --format json
    """
    from recitative.anomaly.detector import Summary
    from recitative.model.stream import document
    from recitative.report.figure import check_suffix

    detector = open_detector(model)
    if learned := detector.threshold:
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


def open_detector(model: Path) -> AnomalyDetector:
    """Open an anomaly model: a folder with PyTorch, an exported file with ONNX Runtime."""
    from recitative.kinds import open_model

    detector: AnomalyDetector = open_model(pretrained.find(str(model)), [FORECASTER])
    return detector


def _alarms_of(
    file: str, summary: Summary, detector: AnomalyDetector, threshold: Threshold, picture: Path | None, partial: bool
) -> Iterator[Alarm]:
    """Yield each alarm when it ends, then write the picture."""
    from recitative.anomaly.detector import Overview
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


def score_anomaly_model(
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
        raise UsageError("--decoding: not for an anomaly model; leave it out")
    started = time.perf_counter()
    from recitative.score.classification import area_measured

    detector = open_detector(model)
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
    print(f"{nats:.4f} nats per frame and dimension ({counted(len(normal), 'recording')})")
    for how, measured in areas.items():
        print(f"{how:<8} AUC {measured.value:.3f} ({measured.counts})")


def _scores(
    detector: AnomalyDetector, utterances: Sequence[Utterance], where: Path, fitted: Sequence[Utterance]
) -> Scores:
    from recitative.anomaly.detector import BaselineScores, features_of, recording_scores

    scores = recording_scores(detector, utterances, where)
    if fitted:
        baselines = BaselineScores(features_of(detector, fitted, where))
        scores |= baselines.of(features_of(detector, utterances, where))
    return scores
