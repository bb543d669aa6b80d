"""``recitative info`` of every kind of model file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

import small_events
import small_forecaster
import small_music
from recitative.anomaly.kind import Threshold
from recitative.cli.main import app
from recitative.config import load_tree
from recitative.lm.kind import LanguageModelSettings
from recitative.lm.task import new_language_model
from recitative.model.export.file import export_model
from recitative.sound.conditioning import Labels
from recitative.sound.network import new_wave_model
from recitative.sound.settings import WaveSettings
from recitative.text.tokens import Vocabulary


def shown(path):
    result = CliRunner().invoke(app, ["info", str(path)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_of_voices(tmp_path):
    export_model(small_music.model(), tmp_path / "m.onnx", notes="made by hand")
    text = shown(tmp_path / "m.onnx")
    assert "kind     music, continues" in text
    assert "3 voices, 55 to 66, 4 steps a quarter note" in text
    assert "made by hand" in text


def test_a_model_that_fills_in(tmp_path):
    export_model(small_music.model("model.recurrent.direction=bidirectional"), tmp_path / "m.onnx")
    assert "kind     music, fills in" in shown(tmp_path / "m.onnx")


def test_a_model_of_events(tmp_path):
    export_model(small_events.model(), tmp_path / "m.onnx")
    assert "kind     music, as events" in shown(tmp_path / "m.onnx")


def test_a_forecaster_with_and_without_a_limit(tmp_path):
    made = small_forecaster.forecaster("model.horizon=4")
    export_model(made, tmp_path / "m.onnx")
    text = shown(tmp_path / "m.onnx")
    assert "kind     forecaster" in text
    assert "input    4000 Hz, 8 fbank channels, forecast 20 ms ahead" in text
    assert "unusual  not learned" in text
    export_model(replace(made, threshold=Threshold(1.25, 0.5, 0.01, 90)), tmp_path / "m.onnx")
    assert "unusual  above 1.250, usually 0.500" in shown(tmp_path / "m.onnx")


@pytest.mark.parametrize(("condition", "row"), [
    ("none", "input    none"),
    ("mel", "input    80 mel channels every 10 ms"),
    ("labels", "texts    one, two"),
])  # fmt: skip
def test_a_model_of_sound(tmp_path, condition, row):
    small = ["model.width=4", "model.recurrent.hidden=4", f"sound.condition={condition}"]
    labels = Labels(("one", "two"), ("ann",), (0.3, 0.4)) if condition == "labels" else Labels()
    torch.manual_seed(0)
    export_model(new_wave_model(load_tree(WaveSettings, None, small), labels), tmp_path / "m.onnx")
    text = shown(tmp_path / "m.onnx")
    assert "16000 Hz, 16 samples a step" in text
    assert row in text


def test_a_language_model(tmp_path):
    settings = load_tree(LanguageModelSettings, None, ["model.embedding=4", "model.recurrent.hidden=4"])
    export_model(new_language_model(settings, Vocabulary.from_texts(["a b"], "word")), tmp_path / "m.onnx")
    text = shown(tmp_path / "m.onnx")
    assert "kind     language model" in text
    assert "words" in text
