"""The lock files, and tools/lock.sh with a uv that only writes down what it is asked to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {"runtime": "", "serve": "serve", "train": "train", "dev": "dev"}  # with the extra that each holds
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
FAKE_UV = """\
#!/bin/sh
echo "$*" >> uv.log
case "$*" in *" - "*) cat > build.txt ;; esac
case "$*" in
  *dry-run*) exit ${DRY_RUN_STATUS:-0} ;;
  *"$FAILS_AT"*) exit 1 ;;
  *--output-file*) while [ "$1" != --output-file ]; do shift; done; printf '%s\\n' "$LOCK" > "$2" ;;
esac
"""


@cache
def _locked(name: str) -> tuple[tuple[Requirement, int], ...]:
    """Every requirement of a lock file with the number of its hashes."""
    text = (ROOT / "tools" / "lock" / f"{name}.txt").read_text()
    entries = re.findall(r"^([a-z0-9].*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    entries_and_comments = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    assert sum(line[0] != " " for line in entries_and_comments.splitlines()) == len(entries)  # nothing without hashes
    return tuple((Requirement(line), hashes.count("--hash")) for line, hashes in entries)


def _versions(name: str, python: str) -> dict[str, str]:
    """Name -> version of what is installed on Linux with this Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    found = [one for one, _ in _locked(name) if one.marker is None or one.marker.evaluate(environment)]
    versions = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}
    assert len(versions) == len(found)  # one version each
    return versions


def _wanted(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for: to build, to run, and for this extra and those that it holds."""
    toml = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = toml["project"]
    lines = [*toml["build-system"]["requires"], *project["dependencies"]]
    wanted, extras = [*map(Requirement, lines)], [extra] * bool(extra)
    while extras:
        for one in map(Requirement, project["optional-dependencies"][extras.pop()]):
            if one.name == project["name"]:
                extras += one.extras
            else:
                wanted.append(one)
    return wanted


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_pyproject_asks_for_in_the_ranges_given_there(name: str, python: str) -> None:
    versions = _versions(name, python)
    wrong = [
        str(one)
        for one in _wanted(LOCKS[name])
        if not one.specifier.contains(versions.get(canonicalize_name(one.name), "0"))
    ]
    assert wrong == []  # 'tools/lock.sh --keep' adds them
    assert _versions("dev", python).items() >= versions.items()


def test_the_runtime_needs_no_torch() -> None:
    assert not _versions("runtime", "3.11").keys() & {"torch", "torchaudio", "onnx"}


def test_torch_and_torchaudio_are_locked_as_a_pair_that_loads() -> None:
    from recitative.cli.start import TORCH_PAIRS

    for python in PYTHONS:
        versions = _versions("dev", python)
        assert (versions["torch"], versions["torchaudio"]) in TORCH_PAIRS


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tools" / "lock").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "lock.sh", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("pins", *LOCKS):
        (tmp_path / "tools" / "lock" / f"{name}.txt").write_text("a==1 \\\nb==2 ; x\nb==3\nc==4\n")
    uv = tmp_path / ".venv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(FAKE_UV)
    uv.chmod(0o755)
    (uv.parent / "python").symlink_to(sys.executable)
    return tmp_path


def _lock(project: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"LOCK": "a==1 \\\nb==2\nd==5", "FAILS_AT": "no such call"} | environment
    return subprocess.run(
        [str(project / "tools" / "lock.sh"), *options],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_moved_is_said_and_all_locks_are_written(project: Path) -> None:
    done = _lock(project)
    assert (done.returncode, done.stdout) == (0, "b: 2/3 -> 2\nc: 4 -> nothing\nd: nothing -> 5\n")
    assert {(project / "tools" / "lock" / f"{name}.txt").read_text() for name in LOCKS} == {"a==1 \\\nb==2\nd==5\n"}
    assert _lock(project).stdout == "no version changed\n"


def test_locks_are_for_all_pythons_with_hashes_and_without_addresses(project: Path) -> None:
    _lock(project)
    calls = (project / "uv.log").read_text().splitlines()
    compiled, tried = calls[: len(LOCKS)], calls[len(LOCKS) :]
    for call in compiled:
        for option in ("--universal", "--python-version 3.11", "--generate-hashes", "--no-emit-index-url", "--upgrade"):
            assert option in call
    assert [re.findall(r"--extra \w+", call) for call in compiled] == [
        ["--extra dev"],
        ["--extra train"],
        ["--extra serve"],
        [],
    ]
    assert [re.findall(r"--python-version (\S+) --python-platform (\w+)-", call) for call in tried] == [
        [(python, platform)] for platform in ("x86_64", "aarch64") for python in PYTHONS
    ]
    assert "setuptools" in (project / "build.txt").read_text()  # what builds the package is locked, too
    _lock(project, "--keep")
    assert not any("--upgrade" in call for call in (project / "uv.log").read_text().splitlines()[len(calls) :])


@pytest.mark.parametrize("failure", [{"FAILS_AT": "--extra train"}, {"DRY_RUN_STATUS": "1"}])
def test_a_lock_that_cannot_be_made_leaves_the_old_one(project: Path, failure: dict[str, str]) -> None:
    done = _lock(project, **failure)
    assert done.returncode == 1
    assert "c==4" in (project / "tools" / "lock" / "dev.txt").read_text()


def test_a_slip_in_an_option_is_named(project: Path) -> None:
    done = _lock(project, "--kep")
    assert (done.returncode, done.stderr) == (2, "error: tools/lock.sh --kep: only --keep is allowed\n")
