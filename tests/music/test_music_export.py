"""Music models as files: int8 is small and nearly the same."""

import numpy as np
import onnx

import small_music
from recitative.export.file import build_file
from recitative.model.onnx_stage import open_file
from recitative.music.kind import MUSIC

LARGE = ("model.width=96", "model.choice_width=96", "model.recurrent.hidden=96")


def scores_of(content, code):
    """Of random choices, for random hidden vectors."""
    made, rng = open_file(content, MUSIC), np.random.default_rng(0)
    hidden = rng.normal(0, 0.5, (20, 96)).astype(np.float32)
    ids = np.stack([rng.integers(0, size, 20) for size in code.choice_sizes], -1) + np.cumsum(
        [0, *code.choice_sizes[:-1]]
    )
    return made.scores(hidden, ids, rng.integers(0, code.hidden, (20, code.related)))


def test_int8_takes_a_third_of_the_room_and_says_nearly_the_same():
    model = small_music.model(*LARGE)
    plain, small = (build_file(model, int8=int8).SerializeToString() for int8 in (False, True))
    assert len(small) < len(plain) / 3
    code = model.settings.frames.code
    expected, found = scores_of(plain, code), scores_of(small, code)
    error = found - expected
    assert 0 < np.square(error).mean() < 0.03**2 * np.square(expected).mean()


def test_both_graphs_are_sound():
    for int8 in (False, True):
        onnx.checker.check_model(build_file(small_music.model(*LARGE), int8=int8), full_check=True)
