"""Every settings file that ships loads, and what the recipes promise about them holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recitative.anomaly.detector import AnomalySettings
from recitative.anomaly.task import build_network
from recitative.asr.network import build_recognizer
from recitative.classification.classifier import ClassifierSettings
from recitative.classification.task import build_classifier
from recitative.config import Settings, load_settings, load_tree
from recitative.kinds import MUSIC_KINDS, SOUND_KINDS, load_settings_of

ROOT = Path(__file__).resolve().parents[2]
FRAGMENTS = sorted(ROOT.glob("conf/*/*.yaml"))
EVERY = sorted(ROOT.glob("recipes/*/conf/**/*.yaml"))


def _kind(path: Path) -> str:
    """'' of a recognizer's settings."""
    values = yaml.safe_load(path.read_text())
    kinds = [_kind(path.parent / include) for include in values.get("include", [])]
    return str(values.get("kind", "".join(kinds)))


RECIPES = [path for path in EVERY if not _kind(path)]
CLASSIFIERS = [path for path in EVERY if _kind(path) == "classifier"]
FORECASTERS = [path for path in EVERY if _kind(path) == "forecaster"]
MUSIC = [path for path in EVERY if _kind(path) in ("music", "events")]
SOUND = [path for path in EVERY if _kind(path) in ("sound", "spectrogram")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FRAGMENTS + RECIPES, ids=_name)
def test_the_settings_file_loads(path: Path) -> None:
    assert load_settings(path).kind == "recognizer"


@pytest.mark.parametrize("path", MUSIC, ids=_name)
def test_the_settings_file_of_a_music_model_loads(path: Path) -> None:
    assert load_settings_of(path, [], MUSIC_KINDS).kind == _kind(path)


@pytest.mark.parametrize("path", SOUND, ids=_name)
def test_the_settings_file_of_a_sound_model_loads(path: Path) -> None:
    assert load_settings_of(path, [], SOUND_KINDS).kind == _kind(path)


@pytest.mark.parametrize("path", CLASSIFIERS, ids=_name)
def test_the_settings_file_of_a_classifier_loads_and_its_model_can_be_built(path: Path) -> None:
    settings = load_tree(ClassifierSettings, path)
    network = build_classifier(settings.model, settings.features.dim, num_labels=10)
    assert len(network.get_parameter("stages.head.linear.bias")) == 10


@pytest.mark.parametrize("path", FORECASTERS, ids=_name)
def test_the_settings_file_of_a_forecaster_loads_and_its_model_can_be_built(path: Path) -> None:
    settings = load_tree(AnomalySettings, path)
    network = build_network(settings.model, settings.features.dim)
    assert (
        len(network.get_parameter("stages.forecast.density.linear.bias")) >= 2 * settings.features.dim
    )  # mean and width


@pytest.mark.parametrize("path", RECIPES, ids=_name)
def test_the_recipes_model_can_be_built(path: Path) -> None:
    settings = load_settings(path)
    network = build_recognizer(settings.model, settings.features.dim, num_tokens=28)
    outputs = 28 * settings.model.front_end.outputs_per_step
    assert len(network.get_parameter("stages.head.linear.bias")) == outputs


@pytest.mark.parametrize("path", FRAGMENTS, ids=_name)
def test_a_shared_fragment_holds_the_settings_of_its_folder_only(path: Path) -> None:
    sections = {"features": {"features"}, "model": {"model"}, "train": {"train", "augment"}, "decode": {"decode"}}
    assert set(yaml.safe_load(path.read_text())) <= sections[path.parent.name]


def test_every_shared_fragment_is_used_by_a_recipe() -> None:
    used = {
        (path.parent / include).resolve()
        for path in RECIPES
        for include in yaml.safe_load(path.read_text()).get("include", [])
    }
    assert used - {path.resolve() for path in RECIPES} == set(FRAGMENTS)


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem == "lstm"], ids=_name)
def test_a_streaming_model_waits_at_most_300_ms(path: Path) -> None:
    settings = load_settings(path)
    assert _algorithmic_latency_ms(settings) <= 300


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem == "blstm"], ids=_name)
def test_a_bidirectional_model_hears_the_whole_recording(path: Path) -> None:
    settings = load_settings(path)
    assert build_recognizer(settings.model, settings.features.dim, num_tokens=28).lookahead is None


def _algorithmic_latency_ms(settings: Settings) -> float:
    """From the start of an output's first frame to the end of the last frame that it depends on."""
    frames = build_recognizer(settings.model, settings.features.dim, num_tokens=28).lookahead
    assert frames is not None
    return frames * settings.features.frame_shift_ms + settings.features.frame_length_ms
