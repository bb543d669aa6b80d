"""The features of a model that fills in notes."""

import numpy as np

from recitative.music.frames import FrameCode, MaskedCode, offsets

CODE = FrameCode(voices=3, lowest=50, highest=70, bar=4, order=(0, 2, 1))
MASKED = MaskedCode(CODE)


def grid(rng, rows=4, steps=12):
    frames = rng.integers(0, CODE.outputs, (rows, steps, 3))
    return np.where(rng.random(frames.shape) < 0.4, CODE.hidden, frames)


def test_every_feature_stays_within_its_own_entries():
    rng = np.random.default_rng(1)
    frames = grid(rng)
    for sizes, ids in [
        (MASKED.context_sizes, MASKED.context_ids(frames, rng.integers(0, 13, 4))),
        *((MASKED.choice_sizes, MASKED.choice_ids(frames, voice)[0]) for voice in range(3)),
    ]:
        values = ids - offsets(sizes)
        assert values.shape[-1] == len(sizes)
        assert (values >= 0).all()
        assert (values < np.array(sizes)).all()


def test_a_choice_never_sees_its_own_pitch():
    frames = grid(np.random.default_rng(2))
    for voice in range(3):
        other = frames.copy()
        other[:, 5, voice] = (frames[:, 5, voice] + 1) % CODE.outputs
        for mine, theirs in zip(MASKED.choice_ids(frames, voice), MASKED.choice_ids(other, voice), strict=True):
            np.testing.assert_array_equal(mine[:, 5], theirs[:, 5])


def test_a_choice_sees_its_neighbors_on_both_sides_and_the_other_voices():
    frames = np.array([[[14, 10, 2], [15, CODE.hidden, 3], [16, 12, 4]]])
    assert MASKED.choice_ids(frames, 1)[1][0].tolist() == [
        [CODE.start, CODE.hidden, 14, 2],
        [10, 12, 15, 3],
        [CODE.hidden, CODE.start, 16, 4],
    ]
