"""The key of a piece."""

import numpy as np
import pytest

from recitative.music.piece import SILENT, key_of

SCALES = {False: (0, 2, 4, 5, 7, 9, 11), True: (0, 2, 3, 5, 7, 8, 11)}


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("tonic", range(12))
def test_a_scale_that_dwells_on_tonic_and_fifth_is_in_its_key(tonic, minor):
    scale = [60 + tonic + step for step in SCALES[minor]]
    pitches = np.array([*scale, scale[0], scale[0], scale[4], scale[4], scale[2]], np.int16)[:, None]
    assert key_of(pitches) == (tonic, minor)


def test_a_piece_without_notes_has_some_key():
    assert key_of(np.full((4, 2), SILENT, np.int16)) == (0, False)
