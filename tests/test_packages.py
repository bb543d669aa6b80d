"""Optional packages that are missing or do not fit to each other end in one line, never in a traceback."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from recitative.cli import start

ROOT = Path(__file__).resolve().parents[1]
LOADS_A_LIBRARY = "try:\n    raise OSError('libtorchaudio.so: undefined symbol: x')\nexcept OSError as error:\n    "
LOADS_A_LIBRARY += "raise OSError('Could not load this library') from error\n"


@pytest.fixture
def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package of the given name and code before the installed one, and forgets both afterwards."""

    def add(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)

    return add


def _run(verb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and stderr of a command line whose only verb is this function."""
    monkeypatch.setattr(start, "handle_on_own_stack", lambda: None)
    with pytest.raises(SystemExit) as ended:
        start.run(lambda standalone_mode: verb())
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize("name", ["torch", "torchaudio"])
def test_torch_and_torchaudio_that_do_not_load_together_are_told_with_the_pairs_that_do(
    name, fake_package, monkeypatch, capsys
):
    fake_package(name, LOADS_A_LIBRARY)
    monkeypatch.setattr(start, "version", {"torch": "2.11.0", "torchaudio": "2.11.1"}.__getitem__)
    status, said = _run(lambda: importlib.import_module(name), monkeypatch, capsys)
    assert status == 2
    assert said == (
        f"error: the package '{name}' is installed but does not load (libtorchaudio.so: undefined symbol: x); found "
        "torch 2.11.0, torchaudio 2.11.1; torch 2.11.0 with torchaudio 2.11.0 or torch 2.14.1 with torchaudio 2.11.1, "
        "not builds for the CPU only; pip install torch==2.11.0 torchaudio==2.11.0\n"
    )


def test_another_package_that_does_not_load_is_told_with_its_version(fake_package, monkeypatch, capsys):
    fake_package("onnx", "from json import no_such_name\n")
    monkeypatch.setattr(start, "version", {"onnx": "1.17.0"}.__getitem__)
    status, said = _run(lambda: importlib.import_module("onnx"), monkeypatch, capsys)
    assert status == 2
    assert said.startswith(
        "error: the package 'onnx' is installed but does not load (cannot import name 'no_such_name'"
    )
    assert said.endswith("found onnx 1.17.0; pip install --force-reinstall onnx\n")


def test_an_error_of_a_file_is_none_of_a_package(fake_package):
    fake_package("onnx", "def load(path):\n    return open(path)\n")
    module = importlib.import_module("onnx")
    with pytest.raises(FileNotFoundError) as raised:
        module.load("/no/such/file")
    assert start.explain(raised.value) == ""


def test_the_ranges_of_pyproject_allow_the_pairs_that_load_and_none_of_those_known_to_fail():
    requirements = _requirements("train")
    for torch, torchaudio in start.TORCH_PAIRS:
        assert torch in requirements["torch"]
        assert torchaudio in requirements["torchaudio"]
    for torch in ("2.10.0", "2.12.1", "2.13.0"):
        assert torch not in requirements["torch"]


def _extras():
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def _requirements(extra):
    from packaging.requirements import Requirement

    return {one.name: one.specifier for one in map(Requirement, _extras()[extra])}


def test_the_page_of_installation_lists_every_optional_part():
    page = (ROOT / "docs/install.md").read_text()
    for extra in _extras().keys() - {"bench", "docs", "dev"}:
        assert f"| `pip install '.[{extra}]'` |" in page, extra


def test_no_advice_names_this_package_on_an_index_where_it_is_not():
    """Advice of the installed package may name an extra: pip then takes the package for installed, and adds to it."""
    files = [path for top in ("pipeline", "tools", "docs", "recipes") for path in (ROOT / top).rglob("*.*")]
    texts = {path: path.read_text() for path in (*files, ROOT / "README.md") if path.suffix in (".py", ".sh", ".md")}
    wrong = re.compile(r"install ['\"]?recitative(?!\[)")
    anywhere = re.compile(r"install ['\"]?recitative")
    inside = ROOT / "pipeline"
    found = [str(path) for path, text in texts.items() if (wrong if inside in path.parents else anywhere).search(text)]
    assert found == []
