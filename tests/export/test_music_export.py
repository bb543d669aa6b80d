"""Music models as files: what the card says, that int8 is small and nearly the same, and that damage is noticed."""

import json

import numpy as np
import onnx
import pytest

import small_music
from recitative.errors import DataError
from recitative.export.music import build_music_file, export_music
from recitative.models.music_card import MusicCard
from recitative.runtime.music import OnnxMusic

LARGE = ("model.width=96", "model.choice_width=96", "model.recurrent.hidden=96")


def metadata(made):
    return {entry.key: entry.value for entry in made.metadata_props}


def scores_of(content, code):
    """Of random choices, for random hidden vectors."""
    made, rng = OnnxMusic(content), np.random.default_rng(0)
    hidden = rng.normal(0, 0.5, (20, 96)).astype(np.float32)
    ids = np.stack([rng.integers(0, size, 20) for size in code.choice_sizes], -1) + np.cumsum(
        [0, *code.choice_sizes[:-1]]
    )
    return made.scores(hidden, ids, rng.integers(0, code.hidden, (20, code.beside)))


def test_the_card_has_the_settings_the_parameters_and_the_notes(tmp_path):
    model = small_music.model()
    size = export_music(model, tmp_path / "a" / "music.onnx", notes="JSB Chorales, public domain")
    assert (tmp_path / "a" / "music.onnx").stat().st_size == size
    card = OnnxMusic(tmp_path / "a" / "music.onnx").card
    assert card.settings == model.settings
    assert card.notes == "JSB Chorales, public domain"
    assert card.parameters == sum(parameter.numel() for parameter in model.network.parameters())


def test_int8_takes_a_third_of_the_room_and_says_nearly_the_same():
    model = small_music.model(*LARGE)
    plain, small = (build_music_file(model, int8=int8).SerializeToString() for int8 in (False, True))
    assert len(small) < len(plain) / 3
    code = model.settings.frames.code
    expected, found = scores_of(plain, code), scores_of(small, code)
    error = found - expected
    assert 0 < np.square(error).mean() < 0.03**2 * np.square(expected).mean()


def test_both_graphs_are_sound():
    for int8 in (False, True):
        onnx.checker.check_model(build_music_file(small_music.model(*LARGE), int8=int8), full_check=True)


def test_the_same_model_makes_the_same_bytes():
    first, second = (build_music_file(small_music.model()).SerializeToString() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recitative.kind": "language"}, "is another model; a music model's file"),
        ({"recitative.kind": ""}, "is another model"),
        ({"recitative.card": "{"}, "is damaged: its card cannot be read"),
        ({"recitative.card": json.dumps({"format": "99"})}, "has format 99; format 1; export it again"),
        ({"recitative.choice": "?"}, "is damaged"),
    ],
)
def test_a_file_of_another_kind_or_a_damaged_one_is_named(changed, message):
    good = metadata(build_music_file(small_music.model()))
    with pytest.raises(DataError, match=rf"some\.onnx: {message}"):
        MusicCard.from_metadata(good | changed, "some.onnx")


def test_a_file_without_any_card_is_no_model():
    with pytest.raises(DataError, match=r"some\.onnx: is no model"):
        MusicCard.from_metadata({}, "some.onnx")
