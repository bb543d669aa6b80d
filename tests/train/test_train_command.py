"""'recitative train' takes every kind of model: what is trained and what is read, from settings and options."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import small_music
from command_line import refusal, run
from recitative.anomaly.detector import AnomalySettings
from recitative.config import RecognizerData, Settings, load_settings, load_tree, validate_tree
from recitative.errors import UsageError
from recitative.kinds import KINDS, load_training
from recitative.lm.recurrent import LanguageModelData
from recitative.model.kind import imported
from recitative.music.midi import write_midi
from recitative.music.piece import from_grid, tied
from recitative.train.run import read_inputs, run_digest

SETTINGS = "kind: music\ndata: {train: songs, dev: songs}\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = np.array([[64, 60, 57], [64, 60, 57], [65, 60, 57], [62, 59, 55]] * 2, np.int16)
    for number in range(2):
        write_midi(from_grid(tied(grid + number), 4, name=str(number)), tmp_path / "songs" / f"{number}.mid")
    (tmp_path / "conf.yaml").write_text(SETTINGS)
    return tmp_path


def test_settings_say_what_is_trained_and_on_what_and_the_older_verb_does_the_same(place):
    new = run("train", "conf.yaml", *small_music.SMALL, "--output", "new", "--quiet")
    assert new.out.startswith("new/model: 3 epochs, ")
    run("music", "train", "--train", "songs", "--dev", "songs", "--output", "old", *small_music.SMALL, "--quiet")
    weights = [Path(folder, "model", "weights.safetensors").read_bytes() for folder in ("new", "old")]
    assert weights[0] == weights[1]
    kind = next(kind for kind in KINDS if kind.name == "music")
    assert read_inputs(Path("new"), kind) == read_inputs(Path("old"), kind)
    assert json.loads(Path("new", "summary.json").read_text())["epochs"] == 3


def test_options_take_precedence_over_the_data_of_the_settings(place):
    kind, _, data = load_training(Path("conf.yaml"), [], {"dev": Path("other")})
    assert (kind.name, data.train, data.dev) == ("music", Path("songs"), Path("other"))
    _, _, data = load_training(None, ["kind=language_model"], {"train": "a", "dev": "b"})
    assert data == LanguageModelData(train=("a",), dev="b")
    _, _, data = load_training(None, ["data.train=a", "data.dev=b", "data.tokens=c"], {})
    assert data == RecognizerData(train="a", dev="b", tokens="c")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_a_kind_names_exists(kind):
    checks = [kind.int8] if kind.int8 not in ("", "weights") else []
    for place in (kind.build, kind.task, kind.writer, *checks):
        assert callable(imported(place))
    assert "train" in kind.data.model_fields


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["kind=clasifier"], {}, r"settings: kind='clasifier': must be one of 'recognizer' \(recognizer\), 'cl"),
        (
            ["kind=music"],
            {"train": "a"},
            "--dev: is needed to train a music model; give it, or set data.dev",
        ),
        (
            ["kind=sound"],
            {"train": "a", "dev": "b", "tokens": "t"},
            "--tokens: is not used to train a sound model; ",
        ),
        (["kind=music", "train.epoch=3"], {"train": "a", "dev": "b"}, "unknown setting 'train.epoch'; did you mean"),
        (["kind=music"], {"train": ["a", "b"], "dev": "b"}, "settings, data: train=.*"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(overrides, options, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_training(None, overrides, options)
    assert "\n" not in str(caught.value)


def test_two_settings_files_are_refused(place):
    said = refusal("train", "conf.yaml", "other.yaml", "--output", "exp")
    assert said == "error: two settings files, conf.yaml and other.yaml; give one"


@pytest.mark.parametrize("name", [r"b\ud800.yaml", r"b\0.yaml"])
def test_an_include_that_no_file_can_have_as_its_name_is_refused(tmp_path, name):
    (tmp_path / "a.yaml").write_text(f'include: ["{name}"]\n')
    with pytest.raises(UsageError, match=r"is not a valid file name"):
        load_settings(tmp_path / "a.yaml")


def test_data_that_are_no_section_are_refused(place):
    (place / "conf.yaml").write_text("kind: music\ndata: songs\n")
    assert refusal("train", "conf.yaml", "--output", "new") == (
        "error: conf.yaml: data='songs': must be a section, such as 'data: {train: data/train}'"
    )


def test_the_pieces_of_a_training_run_can_be_counted_by_its_settings(place):
    assert run("music", "check", "songs", "--conf", "conf.yaml").out.startswith("songs: 2 pieces")


def test_settings_by_their_older_names_mean_the_same_in_files_in_overrides_and_for_a_run_that_goes_on(tmp_path):
    (tmp_path / "base.yaml").write_text("train: {keep_best: 7, frozen: [a]}\naugment: {cut_db: [3, 9]}\n")
    (tmp_path / "old.yaml").write_text("include: [base.yaml]\naugment: {quiet_s: 0.2}\n")
    old = load_settings(tmp_path / "old.yaml", ["train.keep_best=3"])
    train = {"keep_top_k": 3, "freeze": ["a"]}
    new = validate_tree(Settings, {"train": train, "augment": {"trim_db": [3, 9], "pad_silence_s": 0.2}}, where="")
    assert old == new
    assert load_settings(tmp_path / "old.yaml", ["train.keep_top_k=4"]).train.keep_top_k == 4
    chosen = {"augment": {"cut_db": [3.0, 9.0], "quiet_s": 0.2}, "train": {"frozen": ["a"], "keep_best": 3}}
    assert run_digest(new) == hashlib.sha256(json.dumps([chosen], sort_keys=True).encode()).hexdigest()
    older, newer = ("watch.window_s=1", "detection.window_s=1")
    assert load_tree(AnomalySettings, None, [older]) == load_tree(AnomalySettings, None, [newer])
    more = validate_tree(RecognizerData, {"train": "a", "dev": "b", "tokens": "c", "unlabelled": "d"}, where="")
    assert more.unlabeled == Path("d")
    with pytest.raises(UsageError, match=r"unknown setting 'train\.keep_best'; did you mean 'keep_top_k'"):
        validate_tree(Settings, {"train": {"keep_best": 3, "keep_top_k": 4}}, where="")
