"""What is found in what was heard."""

import numpy as np
import pytest

from recitative.music.frames import LookBack

NOTHING = 99


def after(frames, groups=((0, 1), (0,)), reach=1000):
    look_back = LookBack.empty(1, len(frames[0]) if frames else 2, len(groups))
    for frame in frames:
        look_back = look_back.after(np.array([frame]), groups, reach)
    return look_back


def slowly(frames, group):
    """(candidate, moves): every earlier place is compared frame by frame."""
    best = (0, NOTHING)
    for place in range(len(frames)):
        moves = length = 0
        while length < place and all(frames[place - 1 - length][v] == frames[-1 - length][v] for v in group):
            length += 1
            before = place - 1 - length
            if before >= 0 and all(frames[before][v] == frames[-1 - length][v] for v in group):
                moves += any(frames[place - length][v] != frames[before][v] for v in group)
        if moves and moves >= best[0]:
            best = (moves, place)
    moves, place = best
    return ([NOTHING] * len(frames[0]) if place == NOTHING else list(frames[place])), moves


def test_the_echo_is_the_frame_that_followed_the_longest_passage_that_agrees():
    phrase = [(5, 1), (6, 1), (7, 2), (8, 3), (9, 4)]
    candidate, moves = after([(6, 1), (7, 7), (1, 1), *phrase, (0, 0), *phrase[:3]]).candidates(NOTHING)
    assert candidate[0, 0].tolist() == [8, 3]
    assert moves[0].tolist() == [2, 2]  # from the first note to the second and on to the third


def test_one_voice_may_recall_another_place_than_all():
    music = [(5, 1), (6, 2), (7, 3), (8, 4), (0, 0), (5, 9), (6, 2), (7, 3)]
    candidate, moves = after(music).candidates(NOTHING)
    assert candidate[0].tolist() == [[8, 4], [8, 4]]
    assert moves[0].tolist() == [1, 2]


def test_of_passages_that_agree_as_much_the_last_one_counts():
    music = [(1, 1), (2, 2), (3, 3), (1, 1), (2, 2), (4, 4), (1, 1), (2, 2)]
    assert after(music).candidates(NOTHING)[0][0, 0].tolist() == [4, 4]


def test_a_note_that_is_held_is_no_echo_of_itself():
    candidate, moves = after([(1, 1), (2, 2), (2, 2), (2, 2)]).candidates(NOTHING)
    assert moves.tolist() == [[0, 0]]
    assert (candidate == NOTHING).all()


def test_nothing_is_recalled_before_anything_was_heard():
    candidate, moves = LookBack.empty(3, 2, 2).candidates(NOTHING)
    assert candidate.shape == (3, 2, 2)
    assert (candidate == NOTHING).all()
    assert (moves == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_comparing_every_place_finds(seed):
    rng = np.random.default_rng(seed)
    frames = [tuple(frame) for frame in rng.integers(0, 2, (40, 2)).tolist()]
    for count in range(1, len(frames) + 1):
        candidate, moves = after(frames[:count]).candidates(NOTHING)
        for number, group in enumerate(((0, 1), (0,))):
            assert (candidate[0, number].tolist(), int(moves[0, number])) == slowly(frames[:count], group)


def test_rows_do_not_hear_one_another():
    frames = np.random.default_rng(1).integers(0, 2, (2, 30, 2))
    both = LookBack.empty(2, 2, 2)
    for frame in frames.swapaxes(0, 1):
        both = both.after(frame, ((0, 1), (0,)), 1000)
    for row in range(2):
        alone = after([tuple(frame) for frame in frames[row]]).candidates(NOTHING)
        for mine, theirs in zip(both.candidates(NOTHING), alone, strict=True):
            np.testing.assert_array_equal(mine[row], theirs[0])


def test_memory_ends_at_its_reach():
    phrase = [(1, 1), (2, 2), (3, 3)]
    music = [*phrase, *[(0, 0)] * 10, *phrase[:2]]
    assert after(music, reach=15).candidates(NOTHING)[0][0, 0].tolist() == [3, 3]
    assert (after(music, reach=12).candidates(NOTHING)[0] == NOTHING).all()
    look_back = after(music * 10, reach=12)
    assert look_back.past.shape == (1, 12, 2)
    assert look_back.matches.shape == (1, 2, 12)
