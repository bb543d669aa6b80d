"""Subsets, splits, copies and unions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.data import select
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from small_corpus import audio_of, make_corpus, make_segmented_corpus, noise, write_audio, write_lines


def directory_of(counts: dict[str, int]) -> DataDirectory:
    """Speaker -> number of utterances."""
    return DataDirectory(
        tuple(
            Utterance(f"{speaker}-{number:03d}", speaker, f"{speaker}-{number:03d}.wav", text="one")
            for speaker in sorted(counts)
            for number in range(counts[speaker])
        )
    )


def ids(directory: DataDirectory) -> list[str]:
    return [u.utt_id for u in directory.utterances]


SMALL = directory_of({"anna": 3, "bert": 2})


def test_first_and_last_follow_the_order_of_ids() -> None:
    assert ids(select.first(SMALL, 2)) == ["anna-000", "anna-001"]
    assert ids(select.last(SMALL, 3)) == ["anna-002", "bert-000", "bert-001"]


def test_per_speaker_takes_all_of_those_who_have_fewer() -> None:
    assert ids(select.per_speaker(SMALL, 1)) == ["anna-000", "bert-000"]
    assert ids(select.per_speaker(SMALL, 3)) == ids(SMALL)


def test_shortest_measures_the_audio(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    write_audio(audio_of(train, "bert-1"), noise(0.3))
    write_audio(audio_of(train, "anna-2"), noise(0.4))
    assert ids(select.shortest(DataDirectory.read(train), 2)) == ["anna-2", "bert-1"]


def test_shortest_believes_utt2dur_and_segments(tmp_path: Path) -> None:
    train = make_corpus(tmp_path / "whole")
    write_lines(train / "utt2dur", ["anna-1 4", "anna-2 3", "bert-1 1", "bert-2 2"])
    assert ids(select.shortest(DataDirectory.read(train), 2)) == ["bert-1", "bert-2"]
    train = make_segmented_corpus(tmp_path / "parts")
    write_lines(train / "segments", ["anna-1 anna 0 .5", "anna-2 anna .5 .9", "bert-1 bert 0 .5", "bert-2 bert 0 .6"])
    assert ids(select.shortest(DataDirectory.read(train), 1)) == ["anna-2"]


def test_random_subsets_are_the_same_for_the_same_seed_only() -> None:
    many = directory_of({"anna": 100})
    assert ids(select.drawn(many, 10, 1)) == ids(select.drawn(many, 10, 1))
    assert ids(select.drawn(many, 10, 1)) != ids(select.drawn(many, 10, 2))
    assert len(set(ids(select.drawn(many, 10, 1)))) == 10


def test_every_utterance_is_drawn_equally_often() -> None:
    few = directory_of({"anna": 10})
    counts = dict.fromkeys(ids(few), 0)
    for seed in range(2000):
        for utt_id in ids(select.drawn(few, 3, seed)):
            counts[utt_id] += 1
    # Binomial with mean 600 and standard deviation 20.5; five deviations either way.
    assert all(497 < count < 703 for count in counts.values())


def test_speakers_and_utterances_by_name() -> None:
    assert ids(select.only_speakers(SMALL, ["bert"])) == ["bert-000", "bert-001"]
    assert ids(select.only_utterances(SMALL, ["bert-001", "anna-000"])) == ["anna-000", "bert-001"]
    assert ids(select.without_utterances(SMALL, ["bert-001"])) == [name for name in ids(SMALL) if name != "bert-001"]


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda: select.first(SMALL, 6), "6 utterances asked for; the data has 5"),
        (lambda: select.first(SMALL, 0), "0 utterances asked for; ask for at least 1"),
        (lambda: select.per_speaker(SMALL, -1), "-1 utterances asked for"),
        (lambda: select.only_speakers(SMALL, ["brt"]), "unknown speaker 'brt'; did you mean 'bert'?"),
        (lambda: select.without_utterances(SMALL, ["x"]), "unknown utterance 'x'; there are 5, such as 'anna-000'"),
        (lambda: select.only_utterances(SMALL, ["x"]), "unknown utterance 'x'; there are 5, such as 'anna-000'"),
        (lambda: select.hold_out(SMALL, ["anna", "bert"]), "all 2 speakers would be held out"),
        (lambda: select.drawn_speakers(SMALL, 3, 1), "3 speakers asked for; the data has 2"),
        (lambda: select.split(SMALL, 3), "3 parts asked for; the data has 2 speakers, who are not divided"),
        (lambda: select.split_by_utterance(SMALL, 6), "6 parts asked for; the data has 5 utterances"),
    ],
)
def test_an_impossible_choice_is_a_usage_error(choose: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose()
    assert message in str(caught.value)


def test_speakers_held_out_are_in_one_part_only() -> None:
    rest, held = select.hold_out(SMALL, ["bert"])
    assert (list(rest.by_speaker), list(held.by_speaker)) == (["anna"], ["bert"])
    assert select.drawn_speakers(SMALL, 1, 7) == select.drawn_speakers(SMALL, 1, 7)


COUNTS = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 12), min_size=1)


@given(COUNTS, st.integers(1, 5))
def test_a_split_keeps_speakers_together_and_loses_nobody(counts: dict[str, int], parts: int) -> None:
    parts = min(parts, len(counts))
    directory = directory_of(counts)
    pieces = select.split(directory, parts)
    assert sorted(utt_id for piece in pieces for utt_id in ids(piece)) == ids(directory)
    assert sum(len(piece.by_speaker) for piece in pieces) == len(counts)
    sizes = [len(piece.utterances) for piece in pieces]
    # Graham 1969: the largest part is at most 4/3 of the best, which is no less than the mean and the largest speaker.
    assert min(sizes) >= 1
    assert max(sizes) <= 4 / 3 * best_largest_part(list(counts.values()), parts)


def best_largest_part(sizes: list[int], parts: int) -> int:
    """Try every assignment, up to the naming of the parts."""
    loads = {(0,) * parts}
    for size in sizes:
        loads = {
            tuple(sorted((*load[:part], load[part] + size, *load[part + 1 :])))
            for load in loads
            for part in range(parts)
        }
    return min(max(load) for load in loads)


@given(st.integers(1, 30), st.integers(1, 30))
def test_a_split_by_utterance_is_even_and_in_order(total: int, parts: int) -> None:
    parts = min(parts, total)
    directory = directory_of({"anna": total})
    pieces = select.split_by_utterance(directory, parts)
    assert [utt_id for piece in pieces for utt_id in ids(piece)] == ids(directory)
    sizes = [len(piece.utterances) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1


def test_combining_the_parts_gives_the_whole_again() -> None:
    pieces = select.split_by_utterance(SMALL, 3)
    combined, left_out = select.combine({str(number): piece for number, piece in enumerate(pieces)})
    assert combined == SMALL
    assert left_out == []


def test_combining_refuses_an_utterance_in_two_directories() -> None:
    with pytest.raises(DataError, match="b: utterance 'anna-000' is in a too; unique ids; copy one with"):
        select.combine({"a": SMALL, "b": select.first(SMALL, 1)})


def test_a_prefix_makes_ids_unique() -> None:
    combined, _ = select.combine({"a": SMALL, "b": select.prefixed(SMALL, "x-")})
    assert len(combined.utterances) == 10
    assert combined.utterances[-1] == Utterance("x-bert-001", "x-bert", "bert-001.wav", text="one")


def test_combining_refuses_a_recording_with_two_paths(tmp_path: Path) -> None:
    one = DataDirectory((Utterance("a-1", "a", "x.wav", 0, 1, "one", "r"),))
    other = DataDirectory((Utterance("a-2", "a", "y.wav", 0, 1, "one", "r"),))
    with pytest.raises(DataError, match=r"2: recording 'r' is y.wav, in 1 it is x.wav; one path per id"):
        select.combine({"1": one, "2": other})


def test_combining_refuses_to_lose_transcripts() -> None:
    silent = DataDirectory((Utterance("carl-1", "carl", "c.wav"),))
    with pytest.raises(DataError, match="b: has no text, a has; transcripts in all or none"):
        select.combine({"a": SMALL, "b": silent})


def test_combining_refuses_speakers_of_two_genders_and_leaves_out_tables_that_some_lack() -> None:
    one = DataDirectory((Utterance("a-1", "a", "x.wav"),), {"spk2gender": {"a": "f"}, "utt2dur": {"a-1": "1"}})
    other = DataDirectory((Utterance("a-2", "a", "y.wav"),), {"spk2gender": {"a": "m"}})
    with pytest.raises(DataError, match="2/spk2gender: speaker 'a' is 'm', in another directory 'f'"):
        select.combine({"1": one, "2": other})
    combined, left_out = select.combine({"1": one, "2": DataDirectory(other.utterances, {"spk2gender": {"a": "f"}})})
    assert json.dumps(combined.extras) == '{"spk2gender": {"a": "f"}}'
    assert left_out == ["utt2dur"]


def test_whole_recordings_become_segments_if_combined_with_segments(tmp_path: Path) -> None:
    whole = DataDirectory.read(make_corpus(tmp_path / "whole"))
    parts = select.prefixed(DataDirectory.read(make_segmented_corpus(tmp_path / "parts")), "p-")
    combined, _ = select.combine({"whole": whole, "parts": parts})
    combined.write(tmp_path / "both")
    again = DataDirectory.read(tmp_path / "both")
    assert len(again.utterances) == 8
    assert (again.utterances[0].start_s, again.utterances[0].end_s, again.utterances[0].recording_id) == (
        0,
        0.5,
        "anna-1",
    )
