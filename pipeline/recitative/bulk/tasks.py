"""What the engines share: a piece that was handed out, and how its result or error travels."""

from __future__ import annotations

import pickle
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

from recitative.errors import RecitativeError, RunError

P = TypeVar("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

TRIES = 2  # of a piece whose worker dies
AHEAD = 3  # pieces for each worker that wait, are being done, or are done and not yet taken


class Task(Protocol[R_co]):
    """A piece that was handed out."""

    def result(self) -> R_co:
        """Waits for it. Raises what the work raised, RunError if its worker died twice."""
        ...

    def cancel(self) -> object:
        """Nobody wants it any more."""
        ...


@dataclass(frozen=True)
class Workers(Generic[P, R]):
    """Whatever does the work."""

    submit: Callable[[P], Task[R]]
    in_flight: int  # pieces that may be handed out and not taken back


@lru_cache(maxsize=1)
def load_work(content: bytes) -> Callable[[Any], Any]:
    """In the worker: what was pickled, the same object for every piece."""
    work: Callable[[Any], Any] = pickle.loads(content)
    return work


def answer(compute: Callable[[], object]) -> bytes:
    """In the worker: (result, None) or (None, error), pickled."""
    try:
        return pickle.dumps((compute(), None))
    except RecitativeError as error:
        return pickle.dumps((None, error))
    except Exception as error:  # a bug: its traceback ends at the process's border, so it goes along as a note
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        return _pickled(error)


def _pickled(error: Exception) -> bytes:
    """Errors of other libraries cannot always be sent."""
    try:
        content = pickle.dumps((None, error))
        pickle.loads(content)
    except Exception:
        stand_in = RuntimeError(f"{type(error).__name__}: {error}")
        stand_in.add_note(error.__notes__[-1])
        return pickle.dumps((None, stand_in))
    return content


def open_answer(content: bytes) -> Any:
    """In the caller: the result, or its error raised."""
    result, error = pickle.loads(content)
    if error is not None:
        raise error
    return result


def death(name: str, how: str) -> RunError:
    """Of a piece whose every worker died."""
    short = textwrap.shorten(name, 80, placeholder=" ...")
    return RunError(f"{short}: its worker died {TRIES} times ({how}), perhaps for lack of memory; use fewer --jobs")
