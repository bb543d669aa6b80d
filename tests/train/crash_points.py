"""Kill a training at each operation on its files, run the same command again, and compare what comes of it.

    python tests/train/crash_points.py [--every N]

The process is killed with SIGKILL before each operation that changes a file of the experiment (opened, renamed,
removed, synced, a folder made) and in the middle of each write: of a fresh run with checkpoints in mid-epoch and at the
ends of epochs, of one that resumes, of averaging, on a system that can exchange folders and on one that cannot, and of
a language model's run, which writes the model itself. The same command is run again and must end in the same weights
bit by bit, the same lines of train.jsonl but for times, the same other files, and nothing beside them. Prints a line
for each point where it does not.
"""

from __future__ import annotations

import argparse
import builtins
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "asr"))
import tiny

from recitative import atomic
from recitative.asr.kind import RECOGNIZER
from recitative.asr.task import average_best
from recitative.config import RecognizerData
from recitative.lm.kind import LANGUAGE_MODEL, LanguageModelData, LanguageModelSettings
from recitative.train.run import train_model

Command = Callable[[Path], object]
NONE = 1 << 30
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "os.chmod"}
TIMES = {"seconds", "wait_s"}  # of a line of the log


class Killer:
    """Counts what this process does to the files below a folder, and kills it at operation number ``at``, from 0."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.at, self.count = str(folder.resolve()), at, 0
        self._files: set[int] = set()

    def install(self) -> None:
        """For the rest of this process's life."""
        sys.addaudithook(self._audit)
        opened, fsync, exchange = io.open, os.fsync, atomic._rename_exchange

        def open_file(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            stream = opened(file, mode, *rest, **options)
            return _Stream(stream, self) if set(mode) & set("wax") and self._is_ours(file) else stream

        def exchange_folders(new: Path, old: Path) -> bool:
            self.point()
            return exchange(new, old)

        def sync(file: int) -> None:
            self.point()
            fsync(file)

        builtins.open = io.open = open_file  # type: ignore[assignment]
        os.fsync, atomic._rename_exchange = sync, exchange_folders

    def point(self, before: Callable[[], object] = lambda: None) -> None:
        if self.count == self.at:
            before()
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def _is_ours(self, file: object) -> bool:
        if not isinstance(file, str | bytes | os.PathLike):
            return False
        path = os.path.abspath(os.fsdecode(file))
        return path.startswith(self.folder) and f"{os.sep}tensorboard" not in path

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and self._is_ours(arguments[0]):
            self.point()


class _Stream:
    """A file whose writes are points: at the one of the kill half of what is to be written arrives."""

    def __init__(self, stream: Any, killer: Killer) -> None:
        self._stream, self._killer = stream, killer

    def write(self, content: Any) -> int:
        self._killer.point(lambda: (self._stream.write(content[: len(content) // 2]), self._stream.flush()))
        return int(self._stream.write(content))

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def in_child(command: Command, folder: Path, at: int) -> tuple[int, int]:
    """The command, killed at a point -> how the process ended (0, or minus the signal), and how many points it had."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            killer = Killer(folder, at)
            killer.install()
            command(folder)
            os.write(writing, str(killer.count).encode())
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        count = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(count or 0)


def content_of(folder: Path) -> dict[str, object]:
    """Everything in an experiment that must not depend on how often it was killed: path -> content."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if "tensorboard" not in path.parts
    }


def _content(path: Path) -> object:
    if path.is_dir():
        return "a folder"
    if path.name == "train.jsonl":
        lines = map(json.loads, path.read_text().splitlines())
        return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]
    if path.name in ("environment.json", "summary.json"):
        beside = TIMES | {"commit"}  # which is another when somebody works on the library meanwhile
        return {name: value for name, value in json.loads(path.read_text()).items() if name not in beside}
    if path.name == "latest.pt":
        saved = torch.load(path, weights_only=True)
        progress = {name: value for name, value in saved.pop("progress").items() if name not in TIMES}
        return _digest(repr((sorted(progress.items()), _plain(saved))).encode())
    return _digest(path.read_bytes())


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _digest(value.numpy().tobytes())
    if isinstance(value, dict):
        return [(key, _plain(value[key])) for key in sorted(value, key=str)]
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def scenarios(work: Path) -> dict[str, tuple[Path | None, Command]]:
    """Name -> a folder to begin with, None an empty one, and the command."""
    config = tiny.settings(
        train={"epochs": 2, "batch_s": 1.5, "checkpoint_every_steps": 2, "keep_best": 1, "threads": 1}
    )
    paths = RecognizerData(**tiny.write_inputs(work / "inputs", config, train=6, dev=2))
    words = LanguageModelSettings.model_validate(
        {
            "model": {"recurrent": {"hidden": 4}},
            "text": {"streams": 2},
            "train": {"epochs": 1, "device": "cpu", "threads": 1},
        }
    )

    def train(folder: Path) -> None:
        train_model(RECOGNIZER, config, paths, folder, quiet=True)

    def train_words(folder: Path) -> None:
        train_model(LANGUAGE_MODEL, words, LanguageModelData(train=[paths.train], dev=paths.dev), folder, quiet=True)

    def average_by_renaming(folder: Path) -> None:
        atomic._rename_exchange = lambda new, old: False
        average_best(folder)

    trained, killed, averaged = work / "trained", work / "killed", work / "averaged"
    for command in (train, average_best):  # what is loaded at first use is loaded here, once for all children
        command(work / "first")
    train_words(work / "first words")
    status, points = in_child(train, trained, NONE)
    assert status == 0
    assert in_child(train, killed, points * 2 // 3)[0] == -signal.SIGKILL
    shutil.copytree(trained, averaged)
    assert in_child(average_best, averaged, NONE)[0] == 0
    return {
        "fresh": (None, train),
        "resumed": (killed, train),
        "averaged": (trained, average_best),
        "averaged again": (averaged, average_best),
        "averaged by renaming": (averaged, average_by_renaming),
        "language model": (None, train_words),
    }


def try_point(name: str, start: Path | None, command: Command, at: int, expected: dict[str, object], work: Path) -> str:
    """What went wrong, '' if nothing did."""
    folder = work / "exp"
    shutil.rmtree(folder, ignore_errors=True)
    if start:
        shutil.copytree(start, folder)
    if (status := in_child(command, folder, at)[0]) != -signal.SIGKILL:
        return f"ended with {status}, where it was to be killed"
    if in_child(command, folder, NONE)[0]:
        return "did not run again"
    found = content_of(folder)
    unlike = [path for path in sorted(expected.keys() | found.keys()) if expected.get(path) != found.get(path)]
    return f"ends in other {', '.join(unlike)}" if unlike else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="Try every N-th point only.")
    every = parser.parse_args().every
    torch.set_num_threads(1)
    tried = good = seen = 0
    with tempfile.TemporaryDirectory(prefix="crash-points-") as temporary:
        work = Path(temporary)
        for name, (start, command) in scenarios(work).items():
            undisturbed = work / "undisturbed"
            shutil.rmtree(undisturbed, ignore_errors=True)
            if start:
                shutil.copytree(start, undisturbed)
            status, points = in_child(command, undisturbed, NONE)
            assert status == 0, name
            expected = content_of(undisturbed)
            chosen = [at for at in range(points) if (seen + at) % every == 0]
            seen += points
            for at in chosen:
                fault = try_point(name, start, command, at, expected, work)
                good, tried = good + (not fault), tried + 1
                if fault:
                    print(f"{name}, point {at} of {points}: {fault}", flush=True)
            print(f"{name}: {len(chosen)} of {points} points tried", flush=True)
    print(f"{good} of {tried} crash points")
    return 0 if good == tried else 1


if __name__ == "__main__":
    sys.exit(main())
