"""tools/setup.sh with a Python that only writes down what it is asked to do."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_PYTHON = """\
#!/bin/sh
case "$*" in
  *'% sys.version_info'*) echo {version} ;;
  *'sys.exit('*) [ {version} != 3.9.2 ] ;;
  *'-m venv'*) for folder; do :; done; mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" ;;
  *'-m pip'*) echo "$0 $*" >> pip.log; exit {pip_status} ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "tools" / "lock", tmp_path / "tools" / "lock")
    shutil.copy(ROOT / "tools" / "setup.sh", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _set_up(
    project: Path, *options: str, version: str = "3.12.1", pip_status: int = 0
) -> subprocess.CompletedProcess[str]:
    python = project / "fake-python"
    python.write_text(FAKE_PYTHON.replace("{version}", version).replace("{pip_status}", str(pip_status)))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return _run(project, str(python), *options)


def _run(project: Path, python: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(project / "tools" / "setup.sh"), *options], env=os.environ | {"PYTHON": python},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def _pip_calls(project: Path) -> list[str]:
    log = project / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def test_everything_comes_from_wheels_of_the_lock_and_the_package_itself_brings_nothing_more(project: Path) -> None:
    done = _set_up(project)
    assert done.returncode == 0, done.stderr
    lock, package = _pip_calls(project)
    assert "--only-binary=:all: --require-hashes --requirement tools/lock/dev.txt" in lock
    assert "--only-binary=:all: --no-index --no-deps --no-build-isolation --editable ." in package


def test_the_newest_versions_go_into_an_environment_of_their_own_each_time(project: Path) -> None:
    for _ in range(2):
        assert _set_up(project, "--latest").returncode == 0
    assert len(_pip_calls(project)) == 2
    for call in _pip_calls(project):
        assert call.startswith(".venv-latest/bin/python ")
        assert call.endswith("--only-binary=:all: --editable .[dev]")
    assert not (project / ".venv").exists()


def test_an_unknown_option_is_named(project: Path) -> None:
    done = _set_up(project, "--newest")
    assert (done.returncode, done.stderr) == (2, "error: tools/setup.sh --newest: only --latest or --try is allowed\n")


def test_a_second_time_nothing_is_done(project: Path) -> None:
    _set_up(project)
    again = _set_up(project)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(_pip_calls(project)) == 2


def test_a_changed_lock_changed_dependencies_or_another_python_are_installed_anew(project: Path) -> None:
    _set_up(project)
    for changed in ("pyproject.toml", "tools/lock/dev.txt"):
        with (project / changed).open("a") as file:
            file.write("# changed\n")
        _set_up(project)
    _set_up(project, version="3.13.0")
    assert len(_pip_calls(project)) == 2 * 4


def test_a_failed_installation_is_tried_again(project: Path) -> None:
    assert _set_up(project, pip_status=1).returncode == 1
    (project / ".venv" / "bin" / "python").unlink()
    assert _set_up(project).returncode == 0
    assert len(_pip_calls(project)) == 1 + 2


def test_an_old_python_is_named_with_what_to_do(project: Path) -> None:
    done = _set_up(project, version="3.9.2")
    assert done.returncode == 2
    assert "is Python 3.9.2; 3.11 to 3.14 is needed; name another: make PYTHON=" in done.stderr
    assert not (project / ".venv").exists()


def test_a_missing_python_is_named_with_what_to_do(project: Path) -> None:
    done = _run(project, "no-such-python")
    assert done.returncode == 2
    assert "'no-such-python' is not there; install Python 3.11 to 3.14" in done.stderr


def test_nothing_in_the_tree_names_a_package_registry() -> None:
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "tools").rglob("*")]
    texts = [file.read_text() for file in files if file.is_file() and "__pycache__" not in file.parts]
    words = ("--index-url", "--extra-index-url", "--find-links", "pypi.org", "pythonhosted")
    assert not any(word in text for text in texts for word in words)
