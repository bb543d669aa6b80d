"""``recitative info`` of every kind of model file."""

from __future__ import annotations

from dataclasses import replace

import pytest

import every_kind
import small_events
import small_forecaster
import small_music
from command_line import run
from recitative.anomaly.detector import Threshold
from recitative.config import load_tree
from recitative.model.export import export_model
from recitative.sound.conditioning import Labels, WaveSettings
from recitative.sound.task import new_wave_model

FORECASTER = small_forecaster.forecaster("model.horizon=4")


def sound(condition):
    small = ["model.width=4", "model.recurrent.hidden=4", f"sound.condition={condition}"]
    return new_wave_model(
        load_tree(WaveSettings, None, small), every_kind.LABELS if condition == "labels" else Labels()
    )


@pytest.mark.parametrize(("make", "rows"), [
    (small_music.model, ["kind     music, continues", "3 voices, 55 to 66, 4 steps a quarter note", "made by hand"]),
    (lambda: small_music.model("model.recurrent.direction=bidirectional"), ["kind     music, fills in"]),
    (small_events.model, ["kind     music, as events"]),
    (lambda: FORECASTER, ["kind     anomaly model", "input    4000 Hz, 8 fbank channels, forecast 20 ms ahead",
                          "unusual  not learned"]),
    (lambda: replace(FORECASTER, threshold=Threshold(1.25, 0.5, 0.01, 90)), ["unusual  above 1.250, usually 0.500"]),
    (lambda: sound("none"), ["16000 Hz, 16 samples a step", "input    none"]),
    (lambda: sound("mel"), ["16000 Hz, 16 samples a step", "input    80 mel channels every 10 ms"]),
    (lambda: sound("labels"), ["16000 Hz, 16 samples a step", "texts    one, two"]),
    (lambda: every_kind.make("language_model"), ["kind     language model", "words"]),
])  # fmt: skip
def test_a_file_says_what_it_is(tmp_path, make, rows):
    export_model(make(), tmp_path / "m.onnx", notes="made by hand")
    shown = run("info", tmp_path / "m.onnx").out
    assert all(row in shown for row in rows), shown
