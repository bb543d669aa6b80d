"""``recitative keywords``: thresholds for a wanted rate of false alarms, and how well keywords are found."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.cli.models import find_model
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
from recitative.cli.spot import spot
from recitative.cli.spotting import (
    SPOTTING_MODEL_HELP,
    KeywordsOption,
    ThresholdsOption,
    WithinOption,
    named_keywords,
    open_spotting,
    read_thresholds,
)
from recitative.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from recitative.decoding.hotwords import Phrase
    from recitative.keywords.evaluate import HeardSet
    from recitative.score.spotting import DetectionCounts

app = typer.Typer(
    name="keywords", no_args_is_help=True, help="Find keywords in recordings; tune thresholds and score them."
)
app.command()(spot)

DataArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA...",
        help="Data directories with transcripts. words.ctm in a directory gives the word times.",
    ),
]


@app.command()
def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=SPOTTING_MODEL_HELP)],
    data: DataArgument,
    keywords: KeywordsOption,
    output: Annotated[Path, typer.Option(help="File of thresholds to write, for 'keywords spot' and 'listen'.")],
    false_alarms_per_hour: Annotated[float, typer.Option(help="Maximum false alarms per hour and keyword.")] = 1.0,
    within_words: WithinOption = False,
) -> None:
    """Choose the threshold of each keyword: fewest misses within a limit of false alarms per hour.

    Use data that the model was not trained on.

    \b
    recitative keywords tune model.onnx data/dev --keywords words.txt --output thresholds.json
    """
    from recitative.keywords.evaluate import KeywordThresholds, fingerprint, tune_thresholds

    if not false_alarms_per_hour >= 0:
        raise UsageError(f"--false-alarms-per-hour {false_alarms_per_hour:g}: must be 0 or more")
    path = find_model(model)
    _, heard = _hear(path, data, named_keywords(keywords), within_words)
    tuned = tune_thresholds(heard, false_alarms_per_hour)
    thresholds = {one.keyword: one.threshold for one in tuned}
    folders = " ".join(map(str, data))
    KeywordThresholds(fingerprint(path), folders, round(heard.hours, 4), false_alarms_per_hour, thresholds).write(
        output
    )
    _print_table([(one.keyword, one.threshold, one.detections) for one in tuned])
    for one in tuned:
        if not one.kept:
            print(f"warning: keyword '{one.keyword}': no threshold keeps that rate", file=sys.stderr)
        if not one.detections.occurrences:
            print(f"warning: keyword '{one.keyword}': is never said in {folders}", file=sys.stderr)
    print(f"{output}: {len(tuned)} thresholds, from {heard.hours:.2f} h of audio", file=sys.stderr)


@app.command()
def score(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=SPOTTING_MODEL_HELP)],
    data: DataArgument,
    keywords: KeywordsOption,
    output: Annotated[Path, typer.Option(help="Folder for keywords.json and the DET curve det.svg.")],
    thresholds: ThresholdsOption = None,
    within_words: WithinOption = False,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Print misses and false alarms per hour of each keyword, and write the DET curve (Martin et al. 1997).

    \b
    recitative keywords score model.onnx data/test --keywords words.txt --thresholds thresholds.json --output exp/test
    """
    from recitative.keywords.evaluate import SpottingScores
    from recitative.keywords.spotter import thresholds_of

    record = Record(results, results_md, name, set_name, decoding, command)
    started = time.perf_counter()
    path = find_model(model)
    phrases = named_keywords(keywords)
    tuned = read_thresholds(thresholds, path, phrases)
    settings, heard = _hear(path, data, phrases, within_words)
    bars = thresholds_of(phrases, tuned)
    scores = SpottingScores.of(heard, bars)
    scores.write(output, f"{', '.join(map(str, data))}: {len(phrases)} keywords, {heard.hours:.2f} h")
    record.write(scores.together.measured(), settings, time.perf_counter() - started)
    _print_table([*zip(scores.keywords, bars, scores.counts, strict=True), ("all", None, scores.together)])


def _hear(
    model: Path, data: Sequence[Path], phrases: Sequence[Phrase], within_words: bool
) -> tuple[BaseModel, HeardSet]:
    """With a search that keeps whatever any threshold may take."""
    from recitative.keywords.evaluate import hear_directories
    from recitative.score.spotting import LEVELS

    open_phrases = [replace(phrase, number=LEVELS[0]) for phrase in phrases]
    network, spotter = open_spotting(model, open_phrases, within_words=within_words)
    with progress_bar("keywords") as show:
        return network.settings, hear_directories(network, spotter, data, show)


def _print_table(rows: Sequence[tuple[str, float | None, DetectionCounts]]) -> None:
    width = max(len(name) for name, _, _ in rows)
    print(f"{'keyword':<{max(width, 7)}}  threshold  said  missed  false alarms  per hour")
    for name, threshold, counts in rows:
        bar = "" if threshold is None else f"{threshold:.3f}"
        missed = f"{counts.missed:>4} {counts.miss_rate:>6.1%}" if counts.occurrences else f"{'-':>11}"
        print(
            f"{name:<{max(width, 7)}}  {bar:>9}  {counts.occurrences:>4} {missed}  {counts.false_alarms:>8}  "
            f"{counts.per_hour:>8.2f}"
        )
