"""Open the recordings of a source and convert those that need it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from recitative.audio.files import OVERSHOOT_S, ROUNDING_S, AudioInfo, convert, inspect
from recitative.data.importing.sources import Entry
from recitative.data.tables import column_fault
from recitative.errors import DataError, Problem

OnProgress = Callable[[float, int, str], None]
"""Called with (done, total, what is being done)."""

Channel = tuple[Path, int | None]
"""One channel of a recording, or, with None, the average of all."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class OpenedEntry:
    """An entry whose recording exists and contains its times."""

    entry: Entry
    path: Path  # absolute
    info: AudioInfo
    end_s: float
    is_partial: bool = False  # damaged; the readable part is used

    @property
    def channel(self) -> Channel:
        return self.path, self.entry.channel

    @property
    def is_named_in_utf8(self) -> bool:
        return not re.search("[\udc80-\udcff]", str(self.path))  # how Python keeps other bytes (PEP 383)

    @property
    def is_cut(self) -> bool:
        """Whether the end in the source is beyond the end of the recording."""
        return (self.entry.end_s or 0.0) > self.info.duration_s + ROUNDING_S

    @property
    def is_whole(self) -> bool:
        return self.entry.start_s <= ROUNDING_S and self.end_s >= self.info.duration_s - ROUNDING_S


def open_all(
    entries: Sequence[Entry], jobs: int, on_progress: OnProgress, *, partial: bool = False
) -> tuple[list[OpenedEntry], list[Problem]]:
    """Read the header of every recording; returns the usable entries, and the problems of the others.

    partial: use the readable part of damaged recordings
    """
    paths = list(dict.fromkeys(entry.audio for entry in entries))

    def open_one(path: Path) -> tuple[AudioInfo, bool]:
        """The header, and whether the recording is damaged."""
        try:
            return inspect(path), False
        except DataError:
            if not partial:
                raise
            return inspect(path, partial=True), True

    opened = _in_parallel(open_one, paths, jobs, "open recordings", on_progress)
    return sift(lambda entry: _open(entry, opened[entry.audio]), entries)


def convert_all(
    targets: dict[Channel, Path], sample_rate: int, jobs: int, on_progress: OnProgress, *, partial: bool = False
) -> dict[Channel, float | DataError]:
    """Write each channel to its target; returns the peak from ``convert``, or the error, for each."""
    return _in_parallel(
        lambda channel: convert(channel[0], targets[channel], sample_rate, channel[1], partial=partial),
        list(targets),
        jobs,
        "convert recordings",
        on_progress,
    )


def sift(work: Callable[[A], B], items: Iterable[A]) -> tuple[list[B], list[Problem]]:
    """Results of ``work`` for the items, and the problems of those for which it raises DataError."""
    made: list[B] = []
    problems: list[Problem] = []
    for item in items:
        try:
            made.append(work(item))
        except DataError as error:
            problems.extend(error.problems)
    return made, problems


def error_at(entry: Entry, error: DataError) -> DataError:
    """The error of a recording as an error of its row."""
    problem = error.problems[0]
    return DataError(entry.where, f"({entry.audio}) {problem.found}", problem.allowed, problem.remedy)


def _open(entry: Entry, inspected: tuple[AudioInfo, bool] | DataError) -> OpenedEntry:
    if isinstance(inspected, DataError):
        raise error_at(entry, inspected)
    info, is_partial = inspected
    path = entry.audio.resolve()
    fault = column_fault("wav.scp", str(path))
    if fault:
        raise DataError(entry.where, f"({path}) {fault.found}", fault.allowed, fault.remedy)
    end_s = info.duration_s if entry.end_s is None else entry.end_s
    if not entry.start_s < min(end_s, info.duration_s) or end_s > info.duration_s + OVERSHOOT_S:
        found = f"({entry.audio}) lasts from {entry.start_s:g} to {end_s:g} s"
        raise DataError(entry.where, found, f"a time within 0 to {info.duration_s:.3f} s", "correct it")
    if entry.channel is not None and entry.channel >= info.channels:
        found = f"({entry.audio}) has {info.channels} channels, not {entry.channel + 1}"
        raise DataError(entry.where, found, "a channel that is there", "correct the row")
    return OpenedEntry(entry, path, info, min(end_s, info.duration_s), is_partial)


def _in_parallel(
    work: Callable[[A], B], items: Sequence[A], jobs: int, title: str, on_progress: OnProgress
) -> dict[A, B | DataError]:
    """Item -> result of ``work``. Threads suffice: decoding and resampling release the interpreter's lock."""

    def attempt(item: A) -> B | DataError:
        try:
            return work(item)
        except DataError as error:
            return error

    results: dict[A, B | DataError] = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for item, result in zip(items, pool.map(attempt, items), strict=True):
            results[item] = result
            on_progress(len(results), len(items), title)
    return results
