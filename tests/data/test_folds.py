"""Folds: every recording is tested once, by a model that knows neither it nor its speaker."""

import pytest

from recitative.data.directory import DataDirectory, Utterance
from recitative.data.select import folds_by, folds_by_speaker, leave_one_speaker_out, read_folds
from recitative.errors import DataError, UsageError

DATA = DataDirectory(
    tuple(Utterance(f"s{i}-{n}", f"s{i}", f"s{i}-{n}.wav", text="x") for i in range(5) for n in range(1 + i % 2))
)


def ids(data):
    return [utterance.utt_id for utterance in data.utterances]


def assert_divided(folds, data=DATA):
    assert sorted(u for fold in folds for u in ids(fold.test)) == ids(data)
    for fold in folds:
        assert sorted(ids(fold.train) + ids(fold.test)) == ids(data)
        assert not {u.speaker for u in fold.train.utterances} & {u.speaker for u in fold.test.utterances}


def test_each_speaker_is_left_out_once():
    folds = leave_one_speaker_out(DATA)
    assert_divided(folds)
    assert [fold.name for fold in folds] == ["s0", "s1", "s2", "s3", "s4"]
    assert all({u.speaker for u in fold.test.utterances} == {fold.name} for fold in folds)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_speakers_are_dealt_to_so_many_folds(count):
    folds = folds_by_speaker(DATA, count)
    assert_divided(folds)
    assert [fold.name for fold in folds] == [str(i + 1) for i in range(count)]


def test_a_table_says_which_fold_an_utterance_is_in(tmp_path):
    lines = [f"{u.utt_id} {'left' if u.speaker < 's2' else 'right'}" for u in DATA.utterances]
    (tmp_path / "utt2fold").write_text("\n".join([*lines, "zoe-1 left"]) + "\n")
    folds = read_folds(DATA, tmp_path / "utt2fold")
    assert_divided(folds)
    assert ids(folds[0].test) == ["s0-0", "s1-0", "s1-1"]


def test_an_utterance_without_a_fold_is_named(tmp_path):
    (tmp_path / "utt2fold").write_text("s0-0 a\n")
    message = r"utt2fold: has no fold for utterance 's1-0'; one for each; add its line \(and 5 more"
    with pytest.raises(DataError, match=message):
        read_folds(DATA, tmp_path / "utt2fold")


def test_a_fold_that_trains_and_tests_on_a_speaker_is_refused():
    with pytest.raises(DataError) as caught:
        folds_by(DATA, {utt_id: utt_id[-1] for utt_id in ids(DATA)})
    assert [problem.found for problem in caught.value.problems] == [
        "trains and tests on speaker 's1'", "trains and tests on speaker 's3'",
    ] * 2  # fmt: skip
    assert str(caught.value.problems[0]).startswith("fold '0': ")


def test_a_fold_that_trains_and_tests_on_a_recording_is_refused():
    both = [Utterance(f"{s}-1", s, "party.wav", i, i + 1.0, "x", "party") for i, s in enumerate(("ann", "bob"))]
    with pytest.raises(DataError, match="fold 'ann': trains and tests on recording 'party'; one of the two"):
        leave_one_speaker_out(DataDirectory(tuple(both)))


def test_one_fold_is_none():
    with pytest.raises(DataError, match="folds: there is one, 's1'; two or more"):
        leave_one_speaker_out(DATA.where(lambda u: u.speaker == "s1"))
    with pytest.raises(UsageError, match="6 parts asked for; the data has 5 speakers"):
        folds_by_speaker(DATA, 6)
