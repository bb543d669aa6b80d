"""Many recordings, transcribed in several processes, in order, with no one lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from recitative.asr.recognizer import BLOCK_S, Progress, Recognizer
from recitative.asr.transcript import Segment, Transcript
from recitative.audio.inputs import is_stream, naming, on_disk
from recitative.data.parallel import Engine, parallel_map
from recitative.errors import one_line

STREAMING_BLOCK_S = 0.16  # what a microphone delivers at a time

Channel = tuple[str, int | None]
"""A file and one of its channels, from 0; None: their average."""


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: a transcript, or why there is none."""

    file: str
    transcript: Transcript | None
    error: str = ""


def transcribe_file(
    file: str,
    recognizer: Recognizer,
    *,
    block_s: float = BLOCK_S,
    partial_ok: bool = False,
    channel: Channel | None = None,
    progress: Progress = lambda heard_s, total_s: None,
) -> Iterator[Segment | Outcome]:
    """The segments of one recording, each as soon as it has ended, then the outcome.

    partial_ok, channel: as of ``transcribe_files``
    """
    place, number = channel or (file, None)
    try:
        with on_disk(place) as path:
            hear = recognizer.segments(path, block_s=block_s, channel=number, partial=partial_ok, progress=progress)
            transcript = yield from hear
        yield Outcome(file, transcript)
    except Exception as error:
        yield Outcome(file, None, one_line(file, error))


def transcribe_files(
    files: Sequence[str],
    recognizer: Recognizer,
    jobs: int = 1,
    *,
    open_again: Callable[[], Recognizer] | None = None,
    block_s: float = BLOCK_S,
    partial_ok: bool = False,
    channels: Mapping[str, Channel] | None = None,
    progress: Callable[[float], None] = lambda files_done: None,
) -> Iterator[Outcome]:
    """One outcome for each file, in order, whatever befalls it.

    open_again: how another process opens the same recognizer; more than one job needs it
    partial_ok: hear what there is of damaged recordings
    channels:   name -> the channel that is meant, of names in ``files`` that are no files
    progress:   counts files, parts of them included where one process does all
    """
    places = channels or {}
    if jobs <= 1:
        for done, file in enumerate(files):
            part, channel = partial(_part, progress, done), places.get(file)
            found = transcribe_file(
                file, recognizer, block_s=block_s, partial_ok=partial_ok, channel=channel, progress=part
            )
            yield from (one for one in found if isinstance(one, Outcome))
            progress(done + 1)
        return
    with ExitStack() as spools:
        recordings = (_reachable(file, places.get(file, (file, None)), spools) for file in files)
        work = _Hearing(recognizer, open_again, block_s, partial_ok)
        outcomes = parallel_map(work, recordings, Engine(jobs=jobs), name=_name, failed=_failed)
        for done, outcome in enumerate(outcomes, start=1):
            yield outcome
            progress(done)


def _part(progress: Callable[[float], None], done: int, heard_s: float, total_s: float) -> None:
    progress(done + heard_s / total_s)


@dataclass(frozen=True)
class _Recording:
    """What the user calls it, where any process finds it, or why that cannot be."""

    file: str
    path: str
    channel: int | None = None
    error: str = ""


def _reachable(file: str, place: Channel, spools: ExitStack) -> _Recording:
    """Standard input and pipes are open in this process only: they are copied to disk."""
    try:
        path, channel = place
        return _Recording(file, spools.enter_context(on_disk(path)) if is_stream(path) else path, channel)
    except Exception as error:
        return _Recording(file, "", error=one_line(file, error))


@dataclass(frozen=True)
class _Hearing:
    """What is said in a recording. A process that unpickles it opens the recognizer."""

    recognizer: Recognizer
    open_again: Callable[[], Recognizer] | None
    block_s: float
    partial: bool

    def __call__(self, recording: _Recording) -> Outcome:
        if recording.error:
            return Outcome(recording.file, None, recording.error)
        try:
            with naming(recording.file, recording.path):
                transcript = self.recognizer.transcribe(
                    recording.path, block_s=self.block_s, channel=recording.channel, partial=self.partial
                )
            return Outcome(recording.file, transcript)
        except Exception as error:
            return _failed(recording, error)

    def __reduce__(self) -> tuple[Any, ...]:
        assert self.open_again is not None, "more than one job needs it"
        return _open_hearing, (self.open_again, self.block_s, self.partial)


def _open_hearing(open_again: Callable[[], Recognizer], block_s: float, partial: bool) -> _Hearing:
    return _Hearing(open_again(), open_again, block_s, partial)


def _failed(recording: _Recording, error: Exception) -> Outcome:
    return Outcome(recording.file, None, one_line(recording.file, error))


def _name(recording: _Recording) -> str:
    return recording.file
