"""``recitative doctor`` tells what is missing and what to do, and says so in its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import typer

from recitative.cli import main as module
from recitative.cli.main import Finding, doctor, examine


def found(findings: list[Finding], what: str) -> Finding:
    return next(finding for finding in findings if finding.what == what)


def lacking(*packages: str) -> Callable[[str], str]:
    return lambda name: "" if name in packages else "1.0"


def test_this_environment_can_train_and_run() -> None:
    findings = list(examine(speed=False))
    assert [f for f in findings if f.status == "error"] == []
    assert {
        "recitative",
        "python",
        "runtime",
        "train",
        "serve",
        "torch",
        "processor",
        "memory",
        "disk",
        "microphone",
    } <= {f.what for f in findings}
    assert "onnxruntime" in found(findings, "runtime").found
    assert str(found(findings, "python")).startswith("ok     python      3.")


def test_a_missing_part_of_the_runtime_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(module, "installed_version", lacking("soxr", "fastapi"))
    with pytest.raises(typer.Exit) as raised:
        doctor(as_json=True, speed=False)
    assert raised.value.exit_code == 1
    findings = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert findings["runtime"] == {
        "status": "error", "what": "runtime", "found": "lacks soxr", "remedy": "run 'pip install .' again",
    }  # fmt: skip
    assert (findings["serve"]["status"], findings["serve"]["remedy"]) == ("note", "pip install 'recitative[serve]'")
    assert "fastapi" in findings["serve"]["found"]


def test_versions_that_do_not_load_together_are_an_error_with_the_pair_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(name: str) -> Any:
        if name == "torchaudio":
            raise OSError("undefined symbol:\n _ZN3c10")

    monkeypatch.setattr(module, "import_module", load)
    finding = found(list(examine(speed=False)), "torch")
    assert finding.status == "error"
    assert "undefined symbol: _ZN3c10" in finding.found
    assert finding.remedy == "pip install torch==2.11.0 torchaudio==2.11.0"


def test_the_speed_of_the_included_recognizer_is_measured() -> None:
    finding = found(list(examine()), "speed")
    assert finding.status in ("ok", "note")
    assert "'en' opens in" in finding.found
    assert "of one core per second of speech" in finding.found
