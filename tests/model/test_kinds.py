"""One suite for every kind of model: its folder and its exported file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file

from every_kind import MAKE, make
from recitative.asr.kind import RECOGNIZER
from recitative.errors import DataError
from recitative.kinds import KINDS
from recitative.model.export import build_file, export_model
from recitative.model.folder import load_model, save_model
from recitative.model.kind import TITLES, kind_in, name_in_settings, read_entries, title_of

FIRST_FORMAT = {  # its extras, as values among the rest
    "recognizer": lambda model: {
        "tokens": model.tokens.symbols,
        "token_scores": model.tokens.scores,
        "language": {
            "lexicon": model.language.lexicon.to_text(),
            "lm": model.language.ngram.text,
            "calibrator": model.language.calibrator.to_dict(),
        },
    },
    "classifier": lambda model: {"labels": model.labels},
    "forecaster": lambda model: {"threshold": asdict(model.threshold)},
    "language_model": lambda model: {"tokens": model.vocabulary.table.symbols},
    "sound": lambda model: {"labels": asdict(model.labels)},
    "spectrogram": lambda model: {"labels": asdict(model.labels)},
}


def test_each_kind_has_a_name_in_messages():
    assert {kind.name for kind in KINDS} == TITLES.keys()
    assert title_of("of_the_future") == "of the future model"


@pytest.fixture(params=MAKE)
def model(request):
    return make(request.param)


def entries_of(model):
    return {entry.key: entry.value for entry in build_file(model, notes="of a test").metadata_props}


def extras_of(model):
    return model.kind.parse(model.kind.texts_of(model), str)


def test_a_folder_gives_back_the_model(model, tmp_path):
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", model.kind)
    assert type(loaded) is type(model)
    assert (loaded.settings, extras_of(loaded)) == (model.settings, extras_of(model))
    assert loaded.kind.texts_of(loaded) == loaded.kind.texts_of(model)
    assert not any(module.training for module in loaded.network.children())
    before, after = (getattr(one, one.kind.weights).state_dict() for one in (model, loaded))
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
    remembers = getattr(model.network, "core", model.network)  # of networks that are not one stage
    assert {name.removeprefix("core.") for name in metadata.state} == {
        name.removeprefix("core.") for name in remembers.initial_state(1)
    }
    assert read_entries(metadata.to_entries(), "m.onnx", model.kind) == metadata


def test_a_file_is_written_whole_and_the_same_each_time(model, tmp_path):
    sizes = [export_model(model, tmp_path / "new" / name, notes="of a test") for name in ("a.onnx", "b.onnx")]
    first, second = ((tmp_path / "new" / name).read_bytes() for name in ("a.onnx", "b.onnx"))
    assert first == second
    assert sizes == [len(first)] * 2


@pytest.mark.parametrize("name", sorted(MAKE.keys() - {"g2p", "punctuation"}))  # which were not exported then
def test_a_file_of_release_0_1_says_the_same(name):
    exported = make(name)
    metadata = read_entries(entries_of(exported), "m.onnx", exported.kind)
    card = json.loads(entries_of(exported)["recitative.model"])
    del card["extras"]
    card |= FIRST_FORMAT.get(exported.kind.name, lambda exported: {})(exported)
    if exported.kind is RECOGNIZER:  # the only kind at first
        old = {"recitative.format": "1", "recitative.card": json.dumps(card)}
    else:
        card["format"] = "1"
        old = {"recitative.kind": exported.kind.name, "recitative.card": json.dumps(card)}
    for name in metadata.graphs:
        old[f"recitative.{name}"] = entries_of(exported)[f"recitative.graph.{name}"]
    upgraded = read_entries(old, "m.onnx", exported.kind)
    assert (replace(upgraded, texts={}), upgraded.extras) == (replace(metadata, texts={}), metadata.extras)
    with pytest.raises(DataError, match=r"m\.onnx: has format 9; format 1 or 2; export it again"):
        read_entries(
            old
            | ({"recitative.format": "9"} if exported.kind is RECOGNIZER else {})
            | {"recitative.card": json.dumps(card | {"format": "9"})},
            "m.onnx",
            exported.kind,
        )


@pytest.mark.parametrize(("changed", "message"), [
    ({"recitative.kind": "choir"}, "is a choir model; an? .*'s file; make one with 'recitative .*export'"),
    ({"recitative.model": "{"}, "is damaged: its metadata cannot be read; a whole .*'s file"),
    ({"recitative.model": "[]"}, "is damaged: its metadata cannot be read"),
    ({"recitative.format": "99"}, "has format 99; format 1 or 2; export it again"),
])  # fmt: skip
def test_a_file_that_is_damaged_or_of_another_kind_is_named(model, changed, message):
    with pytest.raises(DataError, match=rf"m\.onnx: {message}"):
        read_entries(entries_of(model) | changed, "m.onnx", model.kind)
    with pytest.raises(DataError, match=r"m\.onnx: is no model"):
        read_entries({}, "m.onnx", model.kind)
    assert kind_in(entries_of(model), "m.onnx", KINDS) is model.kind


def test_a_folder_that_is_not_whole_or_of_another_kind_is_named(model, tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(DataError, match=r"model: does not exist; an? .*'s folder"):
        load_model(folder, model.kind)
    for name, content, message in (
        ("weights.safetensors", None, "has no weights.safetensors; an? .*'s folder"),
        ("settings.yaml", None, "has no settings.yaml; an? .*'s folder"),
        ("settings.yaml", "kind: another\n", "settings.yaml: is not an? .*'s; 'kind: "),
        ("settings.yaml", "- features\n", "settings.yaml: is not an? .*'s; 'kind: "),
        ("settings.yaml", ": [", "settings.yaml:1: is not YAML"),
        ("weights.safetensors", "nothing", "weights.safetensors: does not hold this model's weights"),
        *((extra.file, None, f"has no {extra.file}") for extra in model.kind.extras.values() if not extra.optional),
    ):
        save_model(model, folder)
        (folder / "SHA256SUMS").unlink()
        (folder / name).unlink() if content is None else (folder / name).write_text(content)
        with pytest.raises(DataError, match=message):
            load_model(folder, model.kind)
    for other in MAKE.keys() - {model.kind.name}:
        save_model(make(other), folder)
        with pytest.raises(DataError, match=f"settings.yaml: is not {model.kind.with_article}'s"):
            load_model(folder, model.kind)


def test_weights_by_the_names_of_release_0_1_are_opened(model, tmp_path):
    older = {"normalize": "normalise", "conditioning": "told"}
    save_model(model, tmp_path)
    weights, path = getattr(model, model.kind.weights).state_dict(), tmp_path / "weights.safetensors"
    save_file({".".join(older.get(part, part) for part in name.split(".")): x for name, x in weights.items()}, path)
    (tmp_path / "SHA256SUMS").unlink()
    opened = getattr(load_model(tmp_path, model.kind), model.kind.weights).state_dict()
    assert all(torch.equal(opened[name], value) for name, value in weights.items())
    assert opened.keys() == weights.keys()


def test_a_recognizer_of_release_0_1_does_not_say_its_kind(tmp_path):
    made = make("recognizer")
    save_model(made, tmp_path / "model")
    settings = tmp_path / "model" / "settings.yaml"
    settings.write_text(settings.read_text().removeprefix("kind: recognizer\n"))
    assert "kind: recognizer" not in settings.read_text()
    (tmp_path / "model" / "SHA256SUMS").unlink()
    assert load_model(tmp_path / "model", RECOGNIZER).settings == made.settings
    assert name_in_settings(tmp_path / "model") == "recognizer"
    settings.write_text("kind: choir\n")
    with pytest.raises(DataError, match=r"settings.yaml: is not a recognizer's; 'kind: recognizer'"):
        load_model(tmp_path / "model", RECOGNIZER)
