"""``recitative detect``: what is unusual in recordings, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recitative.anomaly.detector import Watcher
from recitative.anomaly.kind import FORECASTER
from recitative.anomaly.threshold import Threshold
from recitative.atomic import json_text
from recitative.cli.failures import Failures
from recitative.cli.progress import progress_bar
from recitative.cli.recordings import PartialOption
from recitative.errors import UsageError

if TYPE_CHECKING:
    from recitative.anomaly.watch import Alarm


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
    watcher, learned = open_watcher(model)
    threshold = _threshold(learned, limit, model)
    if picture:
        _require_one(picture, files)
    failures = Failures(len(files), "could not be watched")
    seen: list[_Seen] = []

    def alarms() -> Iterator[tuple[str, Alarm]]:
        for file in files:
            with failures.of(file):
                one = _Seen(file)
                for alarm in _watched(one, watcher, threshold, picture, partial):
                    yield file, alarm
                seen.append(one)

    for file, alarm in alarms():
        if format == "text":
            _print_alarm(file, alarm)
    if format == "json":
        print(json_text([one.to_object(threshold) for one in seen], indent=2))
    failures.finish()


def open_watcher(model: Path) -> tuple[Watcher, Threshold | None]:
    """A folder runs on PyTorch, a file on ONNX Runtime, which needs no PyTorch. Raises DataError for neither."""
    from recitative import pretrained
    from recitative.export.opening import open_model

    watcher: Watcher = open_model(pretrained.find(str(model)), [FORECASTER])
    return watcher, watcher.threshold


@dataclass
class _Seen:
    """One recording, as far as it has been watched."""

    file: str
    duration_s: float = 0.0
    strangest: float = float("-inf")
    alarms: list[Alarm] = field(default_factory=list)

    def to_object(self, threshold: Threshold) -> dict[str, object]:
        return {
            "file": self.file,
            "seconds": round(self.duration_s, 3),
            "limit": threshold.limit,
            "strangest": round(self.strangest, 4),
            "alarms": [{name: round(value, 4) for name, value in asdict(alarm).items()} for alarm in self.alarms],
        }


def _watched(
    one: _Seen, watcher: Watcher, threshold: Threshold, picture: Path | None, partial: bool
) -> Iterator[Alarm]:
    """Alarms as they end; the picture is written behind the last one."""
    from recitative.anomaly.picture import Overview
    from recitative.anomaly.watch import AlarmFinder, Watch
    from recitative.audio.inputs import on_disk

    finder = AlarmFinder(watcher, threshold)
    overview = Overview(watcher) if picture else None
    with on_disk(one.file) as path, progress_bar(Path(one.file).name) as show:
        recording = Watch(watcher, Path(path), partial=partial)
        for heard in recording.pieces():
            if overview:
                overview.accept(heard)
            one.strangest = max(one.strangest, float(heard.strangeness.max(initial=float("-inf"))))
            for alarm in finder.accept(heard.strangeness):
                one.alarms.append(alarm)
                yield alarm
            show(recording.duration_s, round(recording.total_s))
    for alarm in finder.finish(recording.duration_s):
        one.alarms.append(alarm)
        yield alarm
    one.duration_s = recording.duration_s
    if picture and overview:
        overview.write(picture, Path(one.file).name, threshold.limit, one.alarms, one.duration_s)


def _print_alarm(file: str, alarm: Alarm) -> None:
    print(f"{file}\t{alarm.start_s:.2f}\t{alarm.end_s:.2f}\t{alarm.strangeness:.3f}", flush=True)


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
