"""What all tests share: one thread, the order of files, and commands and recipes that begin at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest

from recitative import terminal

terminal.LINE_EVERY_S = 3600  # so that a slow machine adds no lines to what commands write
ANY_SPEED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("soak", ANY_SPEED, max_examples=2000)  # make soak
hypothesis.settings.register_profile("any speed", ANY_SPEED)
hypothesis.settings.load_profile("any speed")
os.environ["OMP_NUM_THREADS"] = "1"  # before any import of torch; two tests run at a time, on perhaps two cores
ROOT = Path(__file__).resolve().parents[1]
SERVER = Path(__file__).with_name("command_server.py")
# Files of few tests that take long come first, so that no worker is left with one of them at the end.
LONG = ("recipes/", "train/test_workers.py", "data/test_shards.py", "data/test_parallel.py", "recognition/")

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((number for number, name in enumerate(LONG) if _name(item).startswith(name)), len(LONG))

    items.sort(key=place)
    for item in items:
        if _name(item).startswith("recipes/"):
            item.add_marker(pytest.mark.timeout(900))  # dozens of commands, on a busy machine perhaps


def _name(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT / "tests").as_posix()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A training takes all cores unless train.threads says otherwise, and keeps them for the tests behind it."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and (threads := torch.get_num_threads()) > 1:
        torch.set_num_threads(1)
        pytest.fail(f"left PyTorch with {threads} threads; train with train.threads=1, or set them back")


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for PATH with ``recitative`` and ``python3``, as forks of a server that has PyTorch already."""
    folder = tmp_path_factory.mktemp("commands")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # the kernel chooses an abstract name
        listener.listen(64)
        name = listener.getsockname()[1:].decode()
        server = subprocess.Popen(
            [sys.executable, SERVER, "serve", str(listener.fileno())],
            stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=os.environ | {"ORT_DISABLE_TELEMETRY": "1"},
        )  # fmt: skip
    for program in ("recitative", "python3"):
        script = folder / program
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {SERVER} call {name} {program} "$@"\n')
        script.chmod(0o755)
    yield folder
    server.communicate()


@pytest.fixture(scope="session")
def recitative(commands: Path) -> Run:
    """``recitative(argument, ..., cwd=, env=, input=)``: the command line as a process, with its output as text."""

    def run(*arguments: object, env: Mapping[str, str] | None = None, **options: object) -> subprocess.CompletedProcess:
        command = [str(commands / "recitative"), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | (env or {}), **options
        )

    return run


@pytest.fixture(scope="session")
def run_recipe(commands: Path) -> Run:
    """``run_recipe(name, folder, option, ..., cwd=)``: recipes/NAME/run.sh with all it makes in ``folder``.

    It has one core, whatever the machine has, and so no verb starts processes beside itself.
    """
    core = sorted(os.sched_getaffinity(0))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    path = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(name: str, folder: Path, *options: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        places = ["--data", folder / "data", "--exp", folder / "exp", "--results", folder / "RESULTS.md"]
        return subprocess.run(
            [str(ROOT / "recipes" / name / "run.sh"), *map(str, [*places, *options])],
            cwd=cwd, env=os.environ | {"PATH": path},
            preexec_fn=lambda: os.sched_setaffinity(0, {core[worker % len(core)]}),
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run
