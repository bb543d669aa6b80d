"""Features of models of frames: with a context, with look-back, and with masked notes."""

from dataclasses import replace

import numpy as np
import pytest

from recitative.music.frames import (
    AGREEMENTS,
    FAR,
    HELD,
    INTERVALS,
    MATCHES,
    WIDEST,
    Conditioning,
    FrameCode,
    LookBack,
    MaskedCode,
    as_sets,
    offsets,
)
from recitative.music.piece import SILENT

CODE = FrameCode(voices=3, lowest=50, highest=70, bar=4, order=(0, 2, 1))
LOOKING_BACK = replace(CODE, look_back=100)
CODES = pytest.mark.parametrize("code", [CODE, LOOKING_BACK], ids=["plain", "look-back"])


def conditioning(rows, steps, left=0, key=0):
    return Conditioning(np.full((rows, steps), left), np.full(rows, key))


def random_frames(rng, rows=2, steps=9, code=CODE):
    """With many repetitions, as in music."""
    frames = rng.integers(0, code.outputs, (rows, steps, code.voices))
    for t in range(1, steps):
        frames[:, t] = np.where(rng.random((rows, code.voices)) < 0.6, frames[:, t - 1], frames[:, t])
    return frames


def test_tokens_and_pitches_are_each_other_s_inverse():
    pitches = np.array([50, 60, 70, SILENT], np.int16)
    assert CODE.tokens(pitches).tolist() == [0, 10, 20, 21]
    assert CODE.midi(CODE.tokens(pitches)).tolist() == pitches.tolist()


def test_a_pitch_out_of_the_range_is_named():
    with pytest.raises(ValueError, match="pitch 71 is not from 50 to 70"):
        CODE.tokens(np.array([[60, 71]], np.int16))


@CODES
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_contexts_of_two_parts_are_those_of_the_whole(code, cut):
    frames = random_frames(np.random.default_rng(2))
    whole = code.contexts(frames, code.initial_history(2), conditioning(2, 9))
    history = code.initial_history(2)
    for t in range(cut):
        history = code.read(history, frames[:, t])
    rest = code.contexts(frames[:, cut:], history, conditioning(2, 9 - cut))
    np.testing.assert_array_equal(code.context_ids(whole)[:, cut:], code.context_ids(rest))


def test_features_of_a_frame_worked_out_by_hand():
    frames = np.array([[[14, 10, 2], [14, 9, 21], [16, 9, 3]]])  # 21: silence
    ids = CODE.context_ids(CODE.contexts(frames, CODE.initial_history(1), conditioning(1, 3, key=10)))[0, 2]
    found = (ids - offsets(CODE.context_sizes)).tolist()
    none = INTERVALS - 1
    assert found == [
        14 - 2 + 20, 9 - 2 + 20, 41,  # the last pitches, from the reference, the lowest note of the first chord
        HELD.index(2), HELD.index(1), HELD.index(1),  # for how long
        none, WIDEST - 1, none,  # by which steps they were reached: one has been there from the start
        WIDEST + 5, none, none,  # between the voices
        2, 0, 1 + (57 - 52) % 12,  # place in the bar, steps to the end, the tonic above the reference
    ]  # fmt: skip


@CODES
def test_every_feature_stays_within_its_own_entries(code):
    rng = np.random.default_rng(3)
    frames = random_frames(rng, rows=20, steps=50)
    left = rng.integers(0, FAR + 200, (20, 50))
    context = code.contexts(frames, code.initial_history(20), Conditioning(left, rng.integers(0, 13, 20)))
    for sizes, ids in [
        (code.context_sizes, code.context_ids(context)),
        *((code.choice_sizes, code.choice_ids(frames, context, n)[0]) for n in range(3)),
    ]:
        values = ids - offsets(sizes)
        assert values.shape[-1] == len(sizes)
        assert (values >= 0).all()
        assert (values < np.array(sizes)).all()


@CODES
def test_a_choice_looks_only_at_what_was_decided_before_it(code):
    rng = np.random.default_rng(4)
    frames = random_frames(rng)
    context = code.contexts(frames, code.initial_history(2), conditioning(2, 9))
    for number in range(3):
        other = frames.copy()
        for voice in code.order[number:]:
            other[..., voice] = code.hidden
        for mine, theirs in zip(
            code.choice_ids(frames, context, number), code.choice_ids(other, context, number), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


@CODES
def test_a_choice_knows_every_voice_that_was_decided(code):
    frames = random_frames(np.random.default_rng(5))
    context = code.contexts(frames, code.initial_history(2), conditioning(2, 9))
    other = frames.copy()
    other[..., 0] = (frames[..., 0] + 1) % code.outputs
    for number in (1, 2):
        ids, related = code.choice_ids(frames, context, number)
        other_ids, other_related = code.choice_ids(other, context, number)
        assert (
            (ids != other_ids)[:, 1:].any(axis=-1).all()
        )  # the first frame has no reference: its chord is only among the related pitches
        assert (related != other_related).any(axis=-1).all()


@CODES
def test_features_do_not_depend_on_the_key(code):
    frames = random_frames(np.random.default_rng(6)) // 2  # in the lower half
    frames[:, 0, 0] = 3
    context = code.contexts(frames, code.initial_history(2), conditioning(2, 9, key=4))
    higher = code.contexts(frames + 5, code.initial_history(2), conditioning(2, 9, key=9))
    np.testing.assert_array_equal(code.context_ids(context)[:, 1:], code.context_ids(higher)[:, 1:])
    for number in range(3):
        ids, related = code.choice_ids(frames, context, number)
        higher_ids, higher_related = code.choice_ids(frames + 5, higher, number)
        np.testing.assert_array_equal(ids[:, 1:], higher_ids[:, 1:])
        np.testing.assert_array_equal((related + np.where(related < code.silence, 5, 0))[:, 1:], higher_related[:, 1:])


def test_the_reference_pitch_is_the_lowest_note_of_the_first_frame_that_sounds():
    frames = np.array([[[21, 21, 21], [14, 21, 9], [14, 21, 2], [3, 3, 3]]])
    context = CODE.contexts(frames, CODE.initial_history(1), conditioning(1, 4))
    assert context.reference[0].tolist() == [CODE.start, CODE.start, 9, 9]


def test_related_pitches_are_the_reference_the_last_pitch_of_the_voice_and_those_of_the_other_voices():
    frames = np.array([[[14, 10, 2], [15, 11, 3]]])
    context = CODE.contexts(frames, CODE.initial_history(1), conditioning(1, 2))
    assert CODE.choice_ids(frames, context, 0)[1][0, 1].tolist() == [2, 14, 10, 2]
    assert CODE.choice_ids(frames, context, 1)[1][0, 1].tolist() == [2, 2, 15, 10]  # the lowest voice comes second
    assert CODE.choice_ids(frames, context, 2)[1][0, 1].tolist() == [2, 10, 15, 3]


def test_copy_candidates_of_a_frame_worked_out_by_hand():
    frames = np.array([[[14, 10, 2], [16, 9, 3], [17, 9, 3], [14, 10, 2], [16, 9, 3], [17, 8, 3]]])
    context = LOOKING_BACK.contexts(frames, LOOKING_BACK.initial_history(1), conditioning(1, 6))
    assert context.matches[0].tolist() == [[0, 0]] * 5 + [[1, 1]]  # one move agrees, of all voices and of the first
    assert context.candidates[0, 5].tolist() == [[17, 9, 3]] * 2
    assert (context.candidates[0, :5] == LOOKING_BACK.hidden).all()
    ids = (LOOKING_BACK.context_ids(context) - offsets(LOOKING_BACK.context_sizes))[0, 5]
    assert ids[-8:].tolist() == [
        1,
        1,
        *[WIDEST + 1, WIDEST, WIDEST] * 2,
    ]  # steps from the last pitches to the candidates'
    for number, still in enumerate((0, 1, 2)):  # nothing is decided; the highest is as before; the lowest is not
        other = frames.copy()
        other[0, 5, 2] = 3 if number == 1 else 4
        found, related = LOOKING_BACK.choice_ids(other, context, number)
        found = (found - offsets(LOOKING_BACK.choice_sizes))[0, 5]
        assert found[-4:-2].tolist() == [1 + len(MATCHES) * (still + AGREEMENTS * number)] * 2
        assert related[0, 5, -2:].tolist() == [frames[0, 2, LOOKING_BACK.order[number]]] * 2


def test_a_single_voice_has_one_look_back_group():
    assert replace(CODE, voices=1, order=(0,), look_back=9).groups == ((0,),)


def test_notes_of_a_set_fall_and_silence_ends_it():
    code = FrameCode(voices=3, lowest=60, highest=63, bar=1, order=(0, 1, 2), sets=True)
    frames = np.array([[[3, 1, 4], [4, 4, 4]]])  # 4: silence
    assert code.allowed(frames, 0).all()
    assert code.allowed(frames, 1)[0].tolist() == [[True, True, True, False, True], [False] * 4 + [True]]
    assert code.allowed(frames, 2)[0].tolist() == [[True, False, False, False, True], [False] * 4 + [True]]


def test_a_set_is_its_distinct_pitches_from_the_highest():
    pitches = np.array([[60, 72, 60], [SILENT, 50, 55], [SILENT] * 3], np.int16)
    assert as_sets(pitches, 2).tolist() == [[72, 60], [55, 50], [SILENT, SILENT]]


def test_a_set_with_too_many_notes_is_refused():
    with pytest.raises(ValueError, match="a frame has 3 notes, more than 2"):
        as_sets(np.array([[60, 61, 62]], np.int16), 2)


# Look-back features


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


def test_there_is_no_copy_candidate_before_the_first_frame():
    candidate, moves = LookBack.empty(3, 2, 2).candidates(NOTHING)
    assert candidate.shape == (3, 2, 2)
    assert (candidate == NOTHING).all()
    assert (moves == 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_candidate_is_that_of_a_search_through_all_places(seed):
    rng = np.random.default_rng(seed)
    frames = [tuple(frame) for frame in rng.integers(0, 2, (40, 2)).tolist()]
    for count in range(1, len(frames) + 1):
        candidate, moves = after(frames[:count]).candidates(NOTHING)
        for number, group in enumerate(((0, 1), (0,))):
            assert (candidate[0, number].tolist(), int(moves[0, number])) == slowly(frames[:count], group)


def test_rows_are_independent():
    frames = np.random.default_rng(1).integers(0, 2, (2, 30, 2))
    both = LookBack.empty(2, 2, 2)
    for frame in frames.swapaxes(0, 1):
        both = both.after(frame, ((0, 1), (0,)), 1000)
    for row in range(2):
        alone = after([tuple(frame) for frame in frames[row]]).candidates(NOTHING)
        for mine, theirs in zip(both.candidates(NOTHING), alone, strict=True):
            np.testing.assert_array_equal(mine[row], theirs[0])


def test_look_back_ends_at_its_reach():
    phrase = [(1, 1), (2, 2), (3, 3)]
    music = [*phrase, *[(0, 0)] * 10, *phrase[:2]]
    assert after(music, reach=15).candidates(NOTHING)[0][0, 0].tolist() == [3, 3]
    assert (after(music, reach=12).candidates(NOTHING)[0] == NOTHING).all()
    look_back = after(music * 10, reach=12)
    assert look_back.past.shape == (1, 12, 2)
    assert look_back.matches.shape == (1, 2, 12)


# Models that fill in notes


MASKED = MaskedCode(CODE)


def masked_grid(rng, rows=4, steps=12):
    frames = rng.integers(0, CODE.outputs, (rows, steps, 3))
    return np.where(rng.random(frames.shape) < 0.4, CODE.hidden, frames)


def test_every_masked_feature_stays_within_its_own_entries():
    rng = np.random.default_rng(1)
    frames = masked_grid(rng)
    for sizes, ids in [
        (MASKED.context_sizes, MASKED.context_ids(frames, rng.integers(0, 13, 4))),
        *((MASKED.choice_sizes, MASKED.choice_ids(frames, voice)[0]) for voice in range(3)),
    ]:
        values = ids - offsets(sizes)
        assert values.shape[-1] == len(sizes)
        assert (values >= 0).all()
        assert (values < np.array(sizes)).all()


def test_a_choice_never_sees_its_own_pitch():
    frames = masked_grid(np.random.default_rng(2))
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
