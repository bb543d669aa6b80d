"""Many recordings, transcribed in several processes, in order, with no one lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from recitative.audio.inputs import on_disk
from recitative.errors import DataError
from recitative.runtime.recognizer import BLOCK_S, Progress, Recognizer, Transcript

STREAMING_BLOCK_S = 0.16  # what a microphone delivers at a time


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: a transcript, or why there is none."""

    file: str
    transcript: Transcript | None
    error: str = ""


def transcribe_files(
    files: Sequence[str],
    open_model: Callable[[], Recognizer],
    jobs: int,
    *,
    block_s: float = BLOCK_S,
    progress: Callable[[float], None] = lambda files_done: None,
) -> Iterator[Outcome]:
    """One outcome for each file, in order; more than one job starts processes that each open the model.

    ``progress`` counts files, parts of them included where one process does all.
    """
    if jobs <= 1:
        recognizer = open_model()
        for done, file in enumerate(files):
            yield _outcome(recognizer, file, block_s, partial(_part, progress, done))
            progress(done + 1)
        return
    context = get_context("spawn")  # a fork would copy ONNX Runtime's threads half alive
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_open, initargs=(open_model,)) as pool:
        for done, outcome in enumerate(pool.map(partial(_in_worker, block_s=block_s), files), start=1):
            yield outcome
            progress(done)


def _part(progress: Callable[[float], None], done: int, heard_s: float, total_s: float) -> None:
    progress(done + heard_s / total_s)


def _outcome(recognizer: Recognizer, file: str, block_s: float, progress: Progress) -> Outcome:
    try:
        with on_disk(file) as path:
            return Outcome(file, recognizer.transcribe(path, block_s=block_s, progress=progress))
    except DataError as error:
        return Outcome(file, None, str(error))


_recognizer: Recognizer | None = None  # of this worker process


def _open(open_model: Callable[[], Recognizer]) -> None:
    global _recognizer
    _recognizer = open_model()


def _in_worker(file: str, block_s: float) -> Outcome:
    assert _recognizer is not None, "the pool opens the model in every process"
    return _outcome(_recognizer, file, block_s, lambda heard_s, total_s: None)
