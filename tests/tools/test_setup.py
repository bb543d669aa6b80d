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
  *'-m venv'*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *'-m pip'*) echo "$*" >> pip.log; exit {pip_status} ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup.sh", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _set_up(project: Path, *, version: str = "3.12.1", pip_status: int = 0) -> subprocess.CompletedProcess[str]:
    python = project / "fake-python"
    python.write_text(FAKE_PYTHON.replace("{version}", version).replace("{pip_status}", str(pip_status)))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return _run(project, str(python))


def _run(project: Path, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(project / "tools" / "setup.sh")], env=os.environ | {"PYTHON": python},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def _pip_calls(project: Path) -> list[str]:
    log = project / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def test_everything_is_installed_from_wheels_by_one_command(project: Path) -> None:
    done = _set_up(project)
    assert done.returncode == 0, done.stderr
    (call,) = _pip_calls(project)
    assert "--only-binary=:all:" in call
    assert ".[dev] torch==2.11.* torchaudio==2.11.*" in call


def test_a_second_time_nothing_is_done(project: Path) -> None:
    _set_up(project)
    again = _set_up(project)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(_pip_calls(project)) == 1


def test_changed_dependencies_or_another_python_are_installed_anew(project: Path) -> None:
    _set_up(project)
    with (project / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    _set_up(project)
    _set_up(project, version="3.13.0")
    assert len(_pip_calls(project)) == 3


def test_a_failed_installation_is_tried_again(project: Path) -> None:
    assert _set_up(project, pip_status=1).returncode == 1
    (project / ".venv" / "bin" / "python").unlink()
    assert _set_up(project).returncode == 0
    assert len(_pip_calls(project)) == 2


def test_an_old_python_is_named_with_what_to_do(project: Path) -> None:
    done = _set_up(project, version="3.9.2")
    assert done.returncode == 2
    assert "is Python 3.9.2; 3.11 or later is needed; name another: make PYTHON=" in done.stderr
    assert not (project / ".venv").exists()


def test_a_missing_python_is_named_with_what_to_do(project: Path) -> None:
    done = _run(project, "no-such-python")
    assert done.returncode == 2
    assert "'no-such-python' is not there; install Python 3.11 or later" in done.stderr


def test_nothing_in_the_tree_names_a_package_registry() -> None:
    files = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "tools").glob("*")]
    texts = [file.read_text() for file in files if file.is_file()]
    assert not any(word in text for text in texts for word in ("index-url", "pypi.org", "find-links"))
