"""The time of day may jump, forward or back: nothing is measured with it, and no result depends on it."""

from __future__ import annotations

import ast
import hashlib
import itertools
import time
from pathlib import Path

import tiny

from command_line import run
from recitative.config import dump_settings

LIBRARY = Path(__file__).resolve().parents[2] / "pipeline" / "recitative"
TIME_OF_DAY = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def times_of_day(code: str) -> list[int]:
    """The lines that ask for the time of day."""
    calls = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute))
    return [node.lineno for node in calls if (ast.unparse(node.value).split(".")[-1], node.attr) in TIME_OF_DAY]


def test_no_duration_is_measured_with_the_time_of_day():
    assert times_of_day("import time\nx = time.time()\ny = time.monotonic()\n") == [2]
    found = {str(path): lines for path in LIBRARY.rglob("*.py") if (lines := times_of_day(path.read_text("utf-8")))}
    assert found == {}


def test_a_training_under_a_clock_that_jumps_ends_in_the_same_weights(tmp_path, monkeypatch):
    config = tiny.settings(train={"epochs": 1})
    inputs = tiny.write_inputs(tmp_path / "inputs", config, train=4, dev=2)
    (tmp_path / "conf.yaml").write_text(dump_settings(config))
    line = ["train", tmp_path / "conf.yaml", "--quiet"]
    line += [word for name, path in inputs.items() for word in (f"--{name}", path)]

    def weights(name: str) -> str:
        for command in ([*line, "--output", tmp_path / name], ["average", tmp_path / name]):
            run(*command)
        return hashlib.sha256((tmp_path / name / "model" / "weights.safetensors").read_bytes()).hexdigest()

    steady = weights("steady")
    day = 24 * 3600.0
    jumps, now = itertools.cycle((0, day, -3 * day, 400 * day, -1e9, 1.0)), time.time
    monkeypatch.setattr(time, "time", lambda: max(0.0, now() + next(jumps)))
    assert weights("jumping") == steady
