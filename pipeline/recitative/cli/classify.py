"""``recitative classify``, and how ``score`` and ``report`` treat classifiers."""

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
from recitative.cli.listen import open_device, warn_of_overruns
from recitative.cli.models import AllSpeedsOption, open_classifier
from recitative.cli.options import (
    CommandOption,
    Failures,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.cli.recordings import PartialOption, tell
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError
from recitative.score.classification import wilson_interval
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from recitative.data.select import Fold
    from recitative.score.classification import Confusions


ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Classifier: model folder such as exp/small/model, or exported file.")
]


def score(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="A data directory with labels.")],
    all_speeds: AllSpeedsOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object.")] = False,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Print how many recordings are given their labels.

    Accuracy with its 95 % interval (Wilson), the unweighted average of the classes' recalls, and a table of confusions.
    """
    record = Record(results, results_md, name, set_name, decoding, command)
    started = time.perf_counter()
    from recitative.classification.evaluation import classify_directory

    classifier = open_classifier(model, all_speeds=all_speeds)
    with progress_bar("score") as show:
        labeled = classify_directory(classifier, data, show, all_speeds=all_speeds)
    confusions = labeled.confusions
    record.write(confusions.measured(), classifier.settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps(_scores_object(confusions, labeled.nll), ensure_ascii=False))
    else:
        _print_scores(confusions)


def report(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="A data directory with labels.")],
    output: Annotated[Path, typer.Option(help="The page to write, such as report.html.")],
    errors: Annotated[int, typer.Option(min=0, help="At most so many errors, the most confident ones.")] = 20,
    title: Annotated[str, typer.Option(help="Of the page; default: the names of model and data.")] = "",
) -> None:
    """Write accuracy, recalls, confusions, calibration and the most confident errors, to be heard, to one HTML file."""
    classifier = open_classifier(model)
    from recitative.classification.evaluation import classify_directory, write_report

    with progress_bar("label") as show:
        labeled = classify_directory(classifier, data, show)
        write_report(
            labeled, classifier.settings, output, title=title or f"{model} on {data}", errors=errors, progress=show
        )
    print(output)


def folds(
    data: Annotated[Path, typer.Argument(help="Data directory.")],
    output: Annotated[Path, typer.Argument(help="Output folder for FOLD/train and FOLD/test.")],
    parts: Annotated[int | None, typer.Option(min=2, help="Number of folds; each speaker is in one fold.")] = None,
    table: Annotated[Path | None, typer.Option(help="File with lines 'utterance fold'.")] = None,
) -> None:
    """Split data for cross-validation: leave one speaker out, --parts of speakers, or a --table.

    A speaker or recording in both train and test is an error.

    \b
    recitative data folds data/all data/folds --parts 5
    """
    if parts and table:
        raise UsageError("--parts and --table exclude each other; give one")
    for fold in _folds(DataDirectory.read(data), parts, table):
        fold.train.write(output / fold.name / "train")
        fold.test.write(output / fold.name / "test")
        print(f"{output / fold.name}: {len(fold.train.utterances)} to train on, {len(fold.test.utterances)} to test")


def _folds(data: DataDirectory, parts: int | None, table: Path | None) -> list[Fold]:
    from recitative.data.select import folds_by_speaker, leave_one_speaker_out, read_folds

    if parts:
        return folds_by_speaker(data, parts)
    return read_folds(data, table) if table else leave_one_speaker_out(data)


def _scores_object(confusions: Confusions, loss: float) -> dict[str, Any]:
    low, high = wilson_interval(confusions.correct, confusions.total)
    return {
        "accuracy": confusions.accuracy,
        "interval": [low, high],
        "unweighted_average_recall": confusions.unweighted_average_recall,
        "nats_per_recording": loss,
        "recordings": confusions.total,
        "correct": confusions.correct,
        "labels": confusions.labels,
        "recalls": confusions.recalls,
        "confusions": confusions.counts.tolist(),
    }


def _print_scores(confusions: Confusions) -> None:
    low, high = wilson_interval(confusions.correct, confusions.total)
    print(
        f"accuracy {confusions.accuracy:.2%} ({confusions.correct} / {confusions.total}; 95 %: {low:.2%} to "
        f"{high:.2%}), unweighted average recall {confusions.unweighted_average_recall:.2%}\n"
    )
    print(confusions.table())


# ``recitative classify``: labels of recordings.

if TYPE_CHECKING:
    from recitative.classification.classifier import Classifier, Label

Row = tuple[str, "Label"]
PIECE_S = 0.16  # of a microphone at a time, at the most


def classify(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE...", help="Audio files, folders, patterns such as 'calls/*.wav', or '-' for stdin."
        ),
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

    _require_source(files or [], every, microphone, device, raw, all_speeds)
    classifier = open_classifier(model, all_speeds=all_speeds)
    if every:
        classifier.stream()  # a model that cannot is refused before any recording is heard
    as_json = partial_(_write_json, pretrained.name_of(model))
    writers: dict[str, Callable[[Iterator[Row], int, bool], None]]
    writers = {"text": _write_text, "json": as_json, "csv": _write_csv}
    write = writers[format]
    if microphone and every:
        with suppress(KeyboardInterrupt):
            write((("microphone", running) for running in _live(classifier, device, every)), top, True)
        return
    names = expand(files or [], tell)
    failures = Failures(len(names), "could not be named")

    def rows() -> Iterator[Row]:
        for name in names:
            with failures.of(name):
                for running in _heard(classifier, name, every, raw, all_speeds, partial):
                    yield name, running

    write(rows(), top, every is not None)
    failures.finish()


def _require_source(
    files: list[str], every: float | None, microphone: bool, device: str, raw: int | None, all_speeds: bool
) -> None:
    """Raises UsageError for none, for two, and for what does not go with the one."""
    if bool(files) == microphone:
        raise UsageError("what is to be named? give FILE..., - for standard input, or --microphone: one of these")
    if microphone and not every:
        raise UsageError("--microphone: it has no end at which it could be named; add --every SECONDS")
    if device and not microphone:
        raise UsageError("--device: is of --microphone; add it")
    if raw and not (every and files == ["-"]):
        raise UsageError("--rate: is of standard input as it comes; give - alone, and --every SECONDS")
    if every and all_speeds:
        raise UsageError("--all-speeds: a running label is heard at one speed; leave it out, or --every")


def _heard(
    classifier: Classifier, name: str, every: float | None, raw: int | None, all_speeds: bool, partial: bool
) -> Iterator[Label]:
    """What a recording is called, after each ``every`` seconds or at its end."""
    from recitative.audio.files import on_disk

    if name == "-" and every:
        yield from _piped(classifier, every, raw)
        return

    def warn(odd: str) -> None:
        tell(f"warning: {name}: {odd}")

    with on_disk(name) as path:
        if every:
            yield from classifier.stream_file(path, every, partial=partial, on_warning=warn)
        else:
            yield classifier.classify_file(path, all_speeds=all_speeds, partial=partial, on_warning=warn)


def _piped(classifier: Classifier, every: float, raw: int | None) -> Iterator[Label]:
    """What standard input is called while it comes; what is neither WAV nor raw is kept on disk until it ends."""
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


def _live(classifier: Classifier, device: str, every: float) -> Iterator[Label]:
    """What the microphone hears, until the user ends it: then once more, and how much was lost."""

    def blocks() -> Iterator[Any]:
        with suppress(KeyboardInterrupt):
            for block in live.blocks():
                yield block.samples

    with open_device(device, every / ceil(every / PIECE_S)) as live:
        print("listening; Ctrl-C ends it", file=sys.stderr)
        yield from classifier.stream_blocks(blocks(), live.sample_rate, every)
    warn_of_overruns(live)


def _write_text(rows: Iterator[Row], top: int, timed: bool) -> None:
    for name, running in rows:
        time = [f"{running.end_s:.2f}"] if timed else []
        labels = [f"{one.label} {one.probability:.4f}" for one in running.predictions[:top]]
        print("\t".join([name, *time, *labels]), flush=timed)


def _write_json(model: str, rows: Iterator[Row], top: int, timed: bool) -> None:
    """A list, an object on each line, written as they come: a long recording has many."""
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
