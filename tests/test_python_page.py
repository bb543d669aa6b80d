"""The examples of docs/python.md run as they stand, in order, and type checkers know what the package offers."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tones

import recitative
import small_forecaster
from recitative.anomaly.detector import Threshold
from recitative.atomic import write_bytes
from recitative.model.export import build_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "python.md"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with all that the page names."""
    parts = [soundfile.read(ROOT / f"recipes/digits/corpus/audio/bf_lily-0{n}.ogg") for n in (0, 3)]
    silence = np.zeros(parts[0][1])
    soundfile.write(tmp_path / "talk.wav", np.concatenate([parts[0][0], silence, parts[1][0]]), parts[0][1])
    write_bytes(tmp_path / "words.onnx", build_file(tones.classifier()).SerializeToString())
    detector = replace(small_forecaster.forecaster(), threshold=Threshold(-100.0, 0.0, 0.0, 1))  # always an alarm
    write_bytes(tmp_path / "hall.onnx", build_file(detector).SerializeToString())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(900)  # a pretrained model hears the recording a dozen times, on a busy machine perhaps
@pytest.mark.usefixtures("place")
def test_the_examples_run_and_say_something(capsys):
    names, printed = {}, []
    for block in re.finditer(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        first = PAGE.read_text(encoding="utf-8").count("\n", 0, block.start(1))
        exec(compile("\n" * first + block[1], str(PAGE), "exec"), names)
        printed.append((block[1], capsys.readouterr().out))
    assert len(printed) > 8
    assert [code for code, out in printed if "print(" in code and not out.strip()] == []
    assert names["transcript"].text.split()[:2] == ["three", "two"]
    assert len(names["utterances"]) >= 2
    assert names["alarm"].end_s == pytest.approx(len(names["samples"]) / names["rate"], abs=0.01)


def test_type_checkers_know_all_that_the_package_offers():
    stub = ast.parse((ROOT / "pipeline/recitative/__init__.pyi").read_text(encoding="utf-8"))
    imported = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    assert imported.keys() | functions | {"__version__"} == set(recitative.__all__)
    for name, place in imported.items():
        found = getattr(recitative, name)
        assert place in (f"{found.__module__}.{found.__qualname__}", f"{recitative._HOMES[name]}.{name}")
    assert functions == {"load"}
