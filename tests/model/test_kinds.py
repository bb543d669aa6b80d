"""One suite for every kind of model: its folder and its exported file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import tones
import torch

import small_events
import small_forecaster
from recitative.errors import DataError
from recitative.export.file import build_file
from recitative.model.file import kind_in, read_entries
from recitative.model.folder import load_model, save_model
from recitative.model.kind import name_in_settings
from recitative.models.threshold import Threshold

MAKE = {
    "classifier": lambda: tones.classifier(labels=("ja", "nein", "größer")),
    "events": small_events.model,
    "forecaster": lambda: replace(small_forecaster.forecaster(), threshold=Threshold(1.5, 0.5, 0.01, 200)),
}
FIRST_FORMAT = {  # its extras, as values among the rest
    "classifier": lambda model: {"labels": model.labels},
    "events": lambda model: {},
    "forecaster": lambda model: {"threshold": asdict(model.threshold)},
}


@pytest.fixture(params=MAKE)
def model(request):
    return MAKE[request.param]()


def entries_of(model):
    return {entry.key: entry.value for entry in build_file(model, notes="of a test").metadata_props}


def extras_of(model):
    return {name: getattr(model, name) for name in model.kind.extras}


def test_a_folder_gives_back_the_model(model, tmp_path):
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", model.kind)
    assert type(loaded) is type(model)
    assert (loaded.settings, extras_of(loaded)) == (model.settings, extras_of(model))
    assert not loaded.network.training
    before, after = model.network.state_dict(), loaded.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert name_in_settings(tmp_path / "model") == model.kind.name
    assert model.settings.kind == model.kind.name


def test_a_file_says_what_the_folder_says(model):
    metadata = read_entries(entries_of(model), "m.onnx", model.kind)
    assert (metadata.settings, metadata.extras) == (model.settings, extras_of(model))
    assert metadata.texts == model.kind.texts_of(model)
    assert metadata.parameters == sum(parameter.numel() for parameter in model.network.parameters())
    assert (metadata.notes, metadata.weights) == ("of a test", "float32")
    assert set(metadata.state) == set(model.network.initial_state(1))
    assert read_entries(metadata.to_entries(), "m.onnx", model.kind) == metadata


def test_a_file_of_release_0_1_says_the_same(model):
    metadata = read_entries(entries_of(model), "m.onnx", model.kind)
    card = json.loads(entries_of(model)["recitative.model"])
    del card["extras"]
    card |= FIRST_FORMAT[model.kind.name](model) | {"format": "1"}
    old = {"recitative.kind": model.kind.name, "recitative.card": json.dumps(card)}
    upgraded = read_entries(old, "m.onnx", model.kind)
    assert (replace(upgraded, texts={}), upgraded.extras) == (replace(metadata, texts={}), metadata.extras)
    with pytest.raises(DataError, match=r"m\.onnx: has format 9; format 1 or 2; export it again"):
        read_entries(old | {"recitative.card": json.dumps(card | {"format": "9"})}, "m.onnx", model.kind)


@pytest.mark.parametrize(("changed", "message"), [
    ({"recitative.kind": "another"}, "is another model; a .*'s file; make one with 'recitative .*export'"),
    ({"recitative.model": "{"}, "is damaged: its metadata cannot be read; a whole .*'s file"),
    ({"recitative.model": "[]"}, "is damaged: its metadata cannot be read"),
    ({"recitative.format": "99"}, "has format 99; format 1 or 2; export it again"),
])  # fmt: skip
def test_a_file_that_is_damaged_or_of_another_kind_is_named(model, changed, message):
    with pytest.raises(DataError, match=rf"m\.onnx: {message}"):
        read_entries(entries_of(model) | changed, "m.onnx", model.kind)
    with pytest.raises(DataError, match=r"m\.onnx: is no model"):
        read_entries({}, "m.onnx", model.kind)
    assert (
        kind_in(entries_of(model), "m.onnx", [kind.kind for kind in (make() for make in MAKE.values())]) is model.kind
    )


def test_a_folder_that_is_not_whole_or_of_another_kind_is_named(model, tmp_path):
    folder = tmp_path / "model"
    for name, content, message in (
        ("weights.safetensors", None, "has no weights.safetensors; a .*'s folder"),
        ("settings.yaml", None, "has no settings.yaml; a .*'s folder"),
        ("settings.yaml", "kind: another\n", "settings.yaml: is not a .*'s; 'kind: "),
        ("settings.yaml", "features: {}\n", "settings.yaml: is not a .*'s; 'kind: "),
        ("settings.yaml", ": [", "settings.yaml:1: is not YAML"),
        ("weights.safetensors", "nothing", "weights.safetensors: does not hold this model's weights"),
    ):
        save_model(model, folder)
        (folder / "SHA256SUMS").unlink()
        (folder / name).unlink() if content is None else (folder / name).write_text(content)
        with pytest.raises(DataError, match=message):
            load_model(folder, model.kind)
    for other in MAKE.keys() - {model.kind.name}:
        save_model(MAKE[other](), folder)
        with pytest.raises(DataError, match=f"settings.yaml: is not a {model.kind.title}'s"):
            load_model(folder, model.kind)
