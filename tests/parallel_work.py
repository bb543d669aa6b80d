"""Work for the tests of parallel work, in a module that worker processes can import."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from recitative.atomic import replacing
from recitative.errors import DataError, Problem, UsageError

PROBLEMS = (Problem("data/text:3", "is empty"), Problem("data/text:5", "is long", "short", "cut it"))


def wait_and_square(piece: int) -> int:
    threading.Event().wait(0.01 * piece)
    return piece * piece


def fail_at_two(piece: int) -> int:
    if piece == 2:
        raise DataError.collect(PROBLEMS)
    return piece


def refuse(piece: int) -> None:
    raise UsageError("--beam: is 0")


def look_up(key: str) -> int:
    numbers: dict[str, int] = {}
    return numbers[key]


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, piece: int) -> int:
        self.count += 1
        return self.count


def write_but_die_first(folder: Path, deadly: int, piece: int) -> int:
    died = folder / f"{piece}.died"
    with replacing(folder / f"{piece}.txt") as partial_file:
        partial_file.write_text(f"piece {piece}")
        if piece == deadly and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return piece


def die_at(deadly: int, piece: int) -> int:
    if piece == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return piece


def write_for_ever(folder: Path, piece: int) -> int:
    if piece:
        with replacing(folder / "file") as partial_file:
            partial_file.write_text("half")
            threading.Event().wait()
    return os.getpid()


def read(path: str) -> str:
    return Path(path).read_text()


class UnsendableError(Exception):
    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {number}")  # so unpickling calls it with one argument


def raise_unsendable(piece: int) -> None:
    raise UnsendableError("of no use", piece)
