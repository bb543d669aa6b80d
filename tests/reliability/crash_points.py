"""Disturb a command at each operation on its files, run the same command again, and compare what comes of it.

    python tests/reliability/crash_points.py [--every N] [--only NAME]

kill    The process is killed with SIGKILL before an operation that changes a file of its output (opened, renamed,
        removed, synced, a folder made) or in the middle of a write.
full    From the operation on, nothing can be written: the disk is full. The command must say so in one line.

This is done to a fresh training with checkpoints in mid-epoch and at the ends of epochs, to one that resumes, to
averaging, on a system that can exchange folders and on one that cannot, to a language model's training, which writes
the model itself, and to the stages that prepare data, decode, score and export. Run again, the command must end with
the same weights bit by bit, the same lines of train.jsonl but for times, the same other files, and nothing beside them.
Prints a line for each point where it does not.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "asr"))
import tiny

from recitative import atomic
from recitative.cli.main import main as recitative
from recitative.config import dump_settings

NONE = 1 << 30
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "os.chmod"}
TIMES = {"seconds", "wait_s"}  # of a line of the log
FAULTS = ("kill", "full")
FULL = ": the disk is full; make room and run it again"


class Disturbance:
    """Counts what this process does to the files below a folder; the fault happens at operation ``at``, from 0."""

    def __init__(self, folder: Path, at: int, fault: str) -> None:
        self.folder, self.at, self.fault, self.count = str(folder.resolve()), at, fault, 0

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
            self.point(needs_room=True)
            fsync(file)

        builtins.open = io.open = open_file  # type: ignore[assignment]
        os.fsync, atomic._rename_exchange = sync, exchange_folders

    def point(self, before: Callable[[], object] = lambda: None, *, needs_room: bool = False) -> None:
        if self.count == self.at and self.fault == "kill":
            before()
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        if self.count > self.at and needs_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_ours(self, file: object) -> bool:
        if not isinstance(file, str | bytes | os.PathLike):
            return False
        path = os.path.abspath(os.fsdecode(file))
        return path.startswith(self.folder) and f"{os.sep}tensorboard" not in path

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and self._is_ours(arguments[0]):
            self.point(needs_room=event == "os.mkdir")


class _Stream:
    """A file whose writes are points: at the one of the kill half of what is to be written arrives."""

    def __init__(self, stream: Any, disturbance: Disturbance) -> None:
        self._stream, self._disturbance = stream, disturbance

    def write(self, content: Any) -> int:
        half = lambda: (self._stream.write(content[: len(content) // 2]), self._stream.flush())  # noqa: E731
        self._disturbance.point(half, needs_room=True)
        return int(self._stream.write(content))

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@dataclass(frozen=True)
class Command:
    """A command line in which FOLDER is the output; start: what is in it before, None = nothing."""

    line: str
    start: Path | None = None
    can_exchange: bool = True

    def run(self, folder: Path) -> int:
        """In this process; returns its exit status."""
        if not self.can_exchange:
            atomic._rename_exchange = lambda new, old: False
        sys.argv = ["recitative", *self.line.replace("FOLDER", str(folder)).split()]
        try:
            recitative()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise AssertionError("the command line ends with SystemExit")


@dataclass(frozen=True)
class Ended:
    """status: 0 to 255, or minus the signal; points: operations on files; told: standard error"""

    status: int
    points: int
    told: str


def in_child(command: Command, folder: Path, at: int = NONE, fault: str = "kill") -> Ended:
    """Run a command in a process of its own, disturbed at a point."""
    with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as count:
        if (child := os.fork()) == 0:
            try:
                os.dup2(told.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                disturbance = Disturbance(folder, at, fault)
                disturbance.install()
                status = command.run(folder)
                count.write(str(disturbance.count))
                count.flush()
                sys.stderr.flush()
                os._exit(status)
            except BaseException as error:
                os.write(2, f"Traceback: {type(error).__name__}: {error}".encode())
                os._exit(70)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (told, count):
            file.seek(0)
        return Ended(status, int(count.read() or 0), told.read())


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


def commands(work: Path) -> dict[str, Command]:
    """Every stage, with inputs below ``work``."""
    config = tiny.settings(
        train={"epochs": 2, "batch_s": 1.5, "checkpoint_every_steps": 2, "keep_top_k": 1, "threads": 1}
    )
    inputs = tiny.write_inputs(work / "inputs", config, train=6, dev=2)
    conf, train, dev = work / "conf.yaml", inputs["train"], inputs["dev"]
    conf.write_text(dump_settings(config))
    for text in ("recordings/a.txt", "recordings/b.txt"):
        (work / text).parent.mkdir(exist_ok=True)
        (work / text).write_text("ab c\n")
        shutil.copy(next((work / "inputs").rglob("*.wav")), (work / text).with_suffix(".wav"))
    tables = f"--train {train} --dev {dev} --tokens {inputs['tokens']} --cmvn {inputs['cmvn']}"
    words = "text.streams=2 model.recurrent.hidden=4 train.epochs=1 train.device=cpu train.threads=1"
    trained, killed, averaged = work / "trained", work / "killed", work / "averaged"
    training = Command(f"train {conf} {tables} --output FOLDER --quiet")
    assert training.run(trained) == 0  # what is loaded at first use is loaded here, once for all children
    points = in_child(training, work / "counted").points
    assert in_child(training, killed, points * 2 // 3).status == -signal.SIGKILL
    shutil.copytree(trained, averaged)
    assert Command("average FOLDER").run(averaged) == 0
    model = averaged / "model"
    assert Command(f"decode {model} {dev} --output FOLDER").run(work / "decoded") == 0
    return {
        "fresh": training,
        "resumed": Command(training.line, killed),
        "averaged": Command("average FOLDER", trained),
        "averaged again": Command("average FOLDER", averaged),
        "averaged by renaming": Command("average FOLDER", averaged, can_exchange=False),
        "language model": Command(f"train kind=language_model --train {train} --dev {dev} --output FOLDER {words}"),
        "import": Command(f"data import {work}/recordings FOLDER/data"),
        "subset": Command(f"data subset {train} FOLDER/few --first 2"),
        "features": Command(f"features {train} FOLDER/features --conf {conf} --jobs 1"),
        "shards": Command(f"shards {train} FOLDER/shards --jobs 1"),
        "tokens": Command(f"tokens {train} --output FOLDER/tokens.txt"),
        "statistics": Command(f"cmvn {train} --conf {conf} --output FOLDER/cmvn --jobs 1"),
        "n-grams": Command(f"lm train {train} --order 2 --output FOLDER/lm.arpa"),
        "decode": Command(f"decode {model} {dev} --output FOLDER/decoded --nbest 2"),
        "score": Command(f"score {dev} {work}/decoded/text --output FOLDER/score"),
        "report": Command("report FOLDER", trained),
        "export": Command(f"export {model} --output FOLDER/model.onnx --weights float32"),
    }


def begin(command: Command, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if command.start:
        shutil.copytree(command.start, folder)


def try_point(command: Command, at: int, fault: str, expected: dict[str, object], folder: Path) -> str:
    """What went wrong, '' if nothing did."""
    begin(command, folder)
    ended = in_child(command, folder, at, fault)
    if fault == "kill" and ended.status != -signal.SIGKILL:
        return f"ended with {ended.status}, where it was to be killed: {ended.told}"
    if fault == "full" and ended.status:
        *_, last = ended.told.strip().splitlines() or [""]
        if ended.status != 1 or "Traceback" in ended.told or not last.startswith("error: ") or FULL not in last:
            return f"ended with {ended.status} and {ended.told!r}"
        if left := [path.name for path in folder.rglob(".*") if path.name.endswith(".partial")]:
            return f"left {left}"
    if (again := in_child(command, folder)).status:
        return f"did not run again: {again.told}"
    found = content_of(folder)
    unlike = [path for path in sorted(expected.keys() | found.keys()) if expected.get(path) != found.get(path)]
    return f"ends in other {', '.join(unlike)}" if unlike else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="Try every N-th point only.")
    parser.add_argument("--only", action="append", help="Only this command; may be repeated.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tried = good = seen = 0
    with tempfile.TemporaryDirectory(prefix="crash-points-") as temporary:
        work = Path(temporary)
        for name, command in commands(work).items():
            if arguments.only and name not in arguments.only:
                continue
            begin(command, work / "exp")
            ended = in_child(command, work / "exp")
            assert ended.status == 0, (name, ended.told)
            expected = content_of(work / "exp")
            points = [(at, fault) for at in range(ended.points) for fault in FAULTS]
            chosen = [point for number, point in enumerate(points, seen) if number % arguments.every == 0]
            seen += len(points)
            for at, fault in chosen:
                wrong = try_point(command, at, fault, expected, work / "exp")
                good, tried = good + (not wrong), tried + 1
                if wrong:
                    print(f"{name}, {fault} at point {at} of {ended.points}: {wrong}", flush=True)
            print(f"{name}: {len(chosen)} of {len(points)} points tried", flush=True)
    print(f"{good} of {tried} crash points")
    return 0 if good == tried else 1


if __name__ == "__main__":
    sys.exit(main())
