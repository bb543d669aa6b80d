"""``recitative classify``; and ``score`` and ``report`` for classifiers."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial as partial_
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative import pretrained
from recitative.atomic import json_text
from recitative.cli.live import open_device, warn_of_overruns
from recitative.cli.models import open_classifier
from recitative.cli.options import Failures, PartialOption, Record, print_note
from recitative.errors import UsageError
from recitative.score.classification import wilson_interval
from recitative.terminal import progress_bar, track

if TYPE_CHECKING:
    from recitative.classification.classifier import Classifier, Label
    from recitative.classification.evaluation import Report

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


def score(model: Path, data: Path, record: Record, *, all_speeds: bool = False, as_json: bool = False) -> None:
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
