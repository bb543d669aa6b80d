"""Subtitles keep to the limits of the craft, whatever the times of the words; and they are cut where one would."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.asr.transcript import (
    FORMATS,
    LINE_CHARACTERS,
    LONGEST_S,
    PAUSE_S,
    SHORTEST_S,
    Final,
    Partial,
    RollingCaptions,
    Segment,
    Subtitles,
    Transcript,
)
from recitative.text.tokens import Word


def words(*spoken: tuple[str, float, float]) -> tuple[Word, ...]:
    """Each with its length and the pause before it, in seconds."""
    made, end_s = [], 0.0
    for word, length_s, pause_s in spoken:
        start_s = end_s + pause_s
        end_s = start_s + length_s
        made.append(Word(word, round(start_s, 3), round(end_s, 3), 1.0))
    return tuple(made)


def lines_of(*spoken: tuple[str, float, float]) -> list[tuple[str, ...]]:
    return [cue.lines for cue in Subtitles().add(words(*spoken))]


SPOKEN = st.tuples(
    st.text(alphabet="ab'", min_size=1, max_size=12) | st.text(alphabet="xy", min_size=40, max_size=100),
    st.floats(0, 1) | st.floats(0, 12),
    st.floats(0, 0.4) | st.floats(0, 5),
)


@given(st.lists(st.lists(SPOKEN, max_size=30), max_size=4))
def test_every_cue_has_its_size_and_time_and_none_overlap(segments):
    flat = words(*(one for segment in segments for one in segment))
    subtitles, cues, place = Subtitles(), [], 0
    for segment in segments:
        cues += subtitles.add(flat[place : place + len(segment)])
        place += len(segment)
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        assert all(1 <= len(line) <= LINE_CHARACTERS for line in cue.lines)
        assert SHORTEST_S - 1e-6 <= cue.end_s - cue.start_s <= LONGEST_S + 1e-6
    assert all(one.end_s <= next_.start_s for one, next_ in pairwise(cues))
    shown = "".join(line.replace(" ", "") for cue in cues for line in cue.lines)
    assert shown == "".join(word.word for word in flat)


@given(st.lists(st.tuples(st.just("word"), st.floats(0.2, 0.5), st.floats(0, 2)), max_size=30))
def test_at_usual_speed_a_cue_is_there_when_its_words_are_said_and_has_no_long_pause(spoken):
    said = words(*spoken)
    cues = Subtitles().add(said)
    place = 0
    for cue in cues:
        row = said[place : place + len(" ".join(cue.lines).split())]
        place += len(row)
        assert row[0].start_s <= cue.start_s <= row[0].start_s + SHORTEST_S
        assert row[-1].end_s <= cue.end_s
        assert all(later.start_s - earlier.end_s < PAUSE_S + 1e-3 for earlier, later in pairwise(row))


def test_subtitles_made_segment_by_segment_are_those_of_the_transcript():
    row = words(*[("word", 0.3, 0.05)] * 60)
    segments = tuple(Segment(part[0].start_s, part[-1].end_s, part) for part in (row[:25], row[25:50], row[50:]))
    for style in ("srt", "vtt"):
        writer = FORMATS[style].start("")
        assert "".join(map(writer.add, segments)) == FORMATS[style].write("", Transcript(segments, 21.0))


def test_a_phrase_that_fills_more_than_one_cue_is_cut_at_its_pause():
    spoken = [("seven", 0.3, 0.02)] * 12 + [("eight", 0.3, 0.25)] + [("eight", 0.3, 0.02)] * 5
    first, second = lines_of(*spoken)
    assert {*" ".join(first).split()} == {"seven"}
    assert {*" ".join(second).split()} == {"eight"}


def test_a_long_phrase_without_pauses_is_shared_evenly():
    assert [len(lines[0].split()) for lines in lines_of(*[("x", 0.4, 0)] * 20)] == [10, 10]


def test_a_short_word_between_two_phrases_is_not_alone_for_a_moment():
    spoken = [("one", 0.4, 0.0), ("two", 0.4, 0.1), ("oh", 0.09, 0.5), ("three", 0.4, 0.3), ("four", 0.4, 0.1)]
    assert lines_of(*spoken) == [("one two oh three four",)]


def test_a_word_alone_is_shown_for_a_second():
    [cue] = Subtitles().add(words(("yes", 0.09, 2.0)))
    assert (cue.start_s, cue.end_s) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("pause_s", "lines"),
    [
        (0.0, ("aaaaaa aaaaaa aaaaaa aaaaaa", "aaaaaa aaaaaa aaaaaa aaaaaa")),
        (0.3, ("aaaaaa aaaaaa aaaaaa", "aaaaaa aaaaaa aaaaaa aaaaaa aaaaaa")),
    ],
)
def test_two_lines_are_about_as_long_unless_a_pause_is_near(pause_s, lines):
    spoken = [("a" * 6, 0.4, pause_s if number == 3 else 0.0) for number in range(8)]
    assert lines_of(*spoken) == [lines]


def test_webvtt_shows_signs_that_it_would_read_as_tags():
    unknown = Transcript((Segment(0.0, 1.0, words(("<unk>", 0.5, 0.0), ("r&b", 0.5, 0.0))),), 1.0)
    assert "&lt;unk&gt; r&amp;b" in FORMATS["vtt"].write("", unknown)
    assert "<unk> r&b" in FORMATS["srt"].write("", unknown)


def test_rolling_captions_are_the_last_two_lines_and_keep_their_breaks_while_words_come():
    captions, said = RollingCaptions(), words(*[("a" * 9, 0.3, 0.0)] * 10)
    shown = [captions.add(Partial(1, 0.0, 9.0, said[:count], 0)) for count in (1, 4, 5, 9)]
    four = " ".join(["a" * 9] * 4)
    assert shown == [f"{'a' * 9}\n", f"{four}\n", f"{four}\n{'a' * 9}\n", f"{four}\n{'a' * 9}\n"]
    captions.add(Final(1, (Segment(0.0, 9.0, said[:5]),)))
    assert captions.add(Partial(2, 9.0, 9.0, (), 0)) == f"{four}\n{'a' * 9}\n"
    assert captions.add(Partial(2, 9.0, 9.5, words(("next", 0.3, 0.0)), 0)) == f"{'a' * 9}\nnext\n"
