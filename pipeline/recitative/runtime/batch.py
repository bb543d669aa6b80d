"""Many recordings: which files are meant, and transcribing them in several processes, in order, with no one lost."""

from __future__ import annotations

import glob
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from recitative.audio.files import SUFFIXES
from recitative.errors import DataError
from recitative.runtime.recognizer import BLOCK_S, Progress, Recognizer, Transcript

STREAMING_BLOCK_S = 0.16  # what a microphone delivers at a time


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: a transcript, or why there is none."""

    file: str
    transcript: Transcript | None
    error: str = ""


def expand(inputs: Sequence[str]) -> list[str]:
    """Files, folders (searched to any depth) and patterns to files, each once, in order; '-' stays.

    Raises DataError for a folder or a pattern that holds none. A file need not exist: it is named when it is opened.
    """
    files: dict[str, None] = {}
    for name in inputs:
        if name != "-" and Path(name).is_dir():
            found = sorted(str(p) for p in Path(name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise DataError(name, "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
        elif any(sign in name for sign in "*?[") and not Path(name).exists():
            found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
            if not found:
                raise DataError(name, "matches no file", "a pattern such as 'talks/*.flac'", "correct it")
        else:
            found = [name]
        files |= dict.fromkeys(found)
    return list(files)


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


def _transcribe_one(recognizer: Recognizer, file: str, block_s: float, progress: Progress) -> Transcript:
    """'-' is standard input, kept in a temporary file meanwhile: a recording's end can tell of its beginning."""
    if file != "-":
        return recognizer.transcribe(file, block_s=block_s, progress=progress)
    with tempfile.NamedTemporaryFile(prefix="recitative-stdin-") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.flush()
        try:
            return recognizer.transcribe(spool.name, block_s=block_s, progress=progress)
        except DataError as error:
            raise DataError.collect([replace(error.problems[0], where="standard input")]) from None


def _outcome(recognizer: Recognizer, file: str, block_s: float, progress: Progress) -> Outcome:
    try:
        return Outcome(file, _transcribe_one(recognizer, file, block_s, progress))
    except DataError as error:
        return Outcome(file, None, str(error))


_recognizer: Recognizer | None = None  # of this worker process


def _open(open_model: Callable[[], Recognizer]) -> None:
    global _recognizer
    _recognizer = open_model()


def _in_worker(file: str, block_s: float) -> Outcome:
    assert _recognizer is not None, "the pool opens the model in every process"
    return _outcome(_recognizer, file, block_s, lambda heard_s, total_s: None)
