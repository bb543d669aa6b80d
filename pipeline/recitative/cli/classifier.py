"""Classifiers: train, score, report, folds for cross-validation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recitative.cli.models import AllSpeedsOption, open_labeller
from recitative.cli.progress import progress_bar
from recitative.cli.results import (
    CommandOption,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError
from recitative.score.classes import wilson_interval

if TYPE_CHECKING:
    from recitative.classification.folds import Fold
    from recitative.score.classes import Confusions


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
    from recitative.classification.scoring import label_directory

    labeller = open_labeller(model, all_speeds=all_speeds)
    with progress_bar("score") as show:
        labelled = label_directory(labeller, data, show, all_speeds=all_speeds)
    confusions = labelled.confusions
    record.write(confusions.measured(), labeller.settings, time.perf_counter() - started)
    if as_json:
        print(json.dumps(_as_object(confusions, labelled.nats), ensure_ascii=False))
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
    labeller = open_labeller(model)
    from recitative.classification.report import write_report
    from recitative.classification.scoring import label_directory

    with progress_bar("label") as show:
        labelled = label_directory(labeller, data, show)
        write_report(
            labelled, labeller.settings, output, title=title or f"{model} on {data}", errors=errors, progress=show
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
    from recitative.classification.folds import folds_by_speaker, leave_one_speaker_out, read_folds

    if parts:
        return folds_by_speaker(data, parts)
    return read_folds(data, table) if table else leave_one_speaker_out(data)


def _as_object(confusions: Confusions, loss: float) -> dict[str, Any]:
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
