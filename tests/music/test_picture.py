"""The piano roll: every note lies where its time and pitch say, in a file that any reader of XML takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image

from recitative.music.page import LEFT, ROW, VOICE_COLORS, Roll, piano_roll, pitch_name
from recitative.music.piece import Note, Piece
from recitative.report.figure import LIGHT, save_figure, to_svg

SVG = "{http://www.w3.org/2000/svg}"
SOPRANO, BASS = Note(0, 72, 4, 0), Note(2, 48, 6, 1)
PIECE = Piece((SOPRANO, BASS), 16, name="two notes")

notes = st.builds(Note, st.integers(0, 400), st.integers(0, 127), st.integers(1, 80), st.integers(0, 7))


def _parsed(figure: Any) -> ElementTree.Element:
    return ElementTree.fromstring(to_svg(figure))


def _notes(figure: Any) -> list[ElementTree.Element]:
    return [one for one in _parsed(figure).iter(f"{SVG}path") if one.find(f"{SVG}title") is not None]


def _texts(figure: Any) -> list[str | None]:
    return [one.text for one in _parsed(figure).iter(f"{SVG}text")]


def _place(shape: ElementTree.Element) -> tuple[float, float, float, float]:
    """x, y, width, height of a rectangle."""
    xs, ys = np.array([float(n) for n in shape.get("d", "").split() if n not in "MLz"]).reshape(-1, 2).T
    return xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)


def test_a_rectangle_lies_at_its_time_and_pitch() -> None:
    """One bar of 16 steps of 9 units; rows of 5 units, two above the highest note."""
    first, second = _notes(piano_roll(PIECE).figure)
    top = piano_roll(PIECE).systems[0][3]
    assert _place(first) == pytest.approx((LEFT, top + 2 * ROW, 4 * 9 - 1.2, ROW))
    assert _place(second) == pytest.approx((LEFT + 2 * 9, top + (2 + 72 - 48) * ROW, 6 * 9 - 1.2, ROW))
    assert first.findtext(f"{SVG}title") == "C5, 1 quarters, 0.00 s"
    assert [one.get("fill") for one in (first, second)] == [LIGHT[color] for color in VOICE_COLORS[:2]]


@settings(max_examples=30, deadline=None)
@given(st.lists(notes, max_size=30))
def test_the_parts_of_each_note_cover_it_once(drawn: list[Note]) -> None:
    """Whatever the systems are: read back from a box, times and pitches are the note's."""
    piece = Piece.of(drawn, 4, 100.0, "drawn")
    roll = Roll.of(piece)
    covered: dict[Note, list[int]] = {note: [] for note in piece.notes}
    for box in roll.boxes():
        system = next(one for one in roll.systems if one.y <= box.y < one.y + roll.system_height)
        assert roll.high - round((box.y - system.y) / ROW) == box.note.pitch
        start = system.first + round((box.x - LEFT) / roll.step_width)
        covered[box.note] += range(start, start + round(box.width / roll.step_width))
    counts = {note: drawn.count(note) for note in covered}
    assert all(
        sorted(steps) == sorted([*range(note.start, note.end)] * counts[note]) for note, steps in covered.items()
    )


@settings(max_examples=10, deadline=None)
@given(st.lists(notes, max_size=30), st.text(max_size=20).filter(str.isprintable))
def test_it_is_valid_xml_whatever_the_title(drawn: list[Note], title: str) -> None:
    piece = Piece.of(drawn, 4, 100.0, title)
    root = _parsed(piano_roll(piece, title=title).figure)
    assert root.tag == f"{SVG}svg"
    assert np.isfinite([float(number) for number in root.get("viewBox", "").split()]).all()


@pytest.mark.parametrize(("bars", "systems"), [(1, 1), (4, 1), (8, 1), (9, 2), (64, 8), (65, 5), (200, 13)])
def test_long_pieces_are_broken_into_systems(bars: int, systems: int) -> None:
    piece = Piece((Note(0, 60, 4), Note(16 * bars - 4, 76, 4)), 16 * bars, 4, 120.0)
    found = piano_roll(piece).systems
    assert len(found) == systems
    assert found[-1][1] == pytest.approx(2.0 * bars)
    width, height = Roll.of(piece).width, Roll.of(piece).height
    assert 400 < width <= 960
    assert height < 2.2 * 960


def test_the_times_of_systems_follow_one_another() -> None:
    found = piano_roll(Piece((Note(0, 60, 16 * 20),), 16 * 20)).systems
    starts, ends = zip(*(system[:2] for system in found), strict=True)
    assert list(starts) == [0.0, *ends[:-1]]


def test_given_notes_are_outlined_and_explained() -> None:
    for given_notes in ({BASS}, [BASS]):
        figure = piano_roll(PIECE, given=given_notes).figure
        assert [one.get("stroke") for one in _notes(figure)] == [None, LIGHT[VOICE_COLORS[1]]]
        assert {"generated", "given"} <= set(_texts(figure))
    assert "given" not in _texts(piano_roll(PIECE).figure)


def test_pitches_and_bars_are_named() -> None:
    texts = _texts(piano_roll(Piece((Note(0, 60, 40), Note(0, 81, 1)), 40)).figure)
    assert [text for text in texts if text and text.startswith("C")] == ["C4", "C5"]
    assert {"1", "2", "3"} <= set(texts)
    assert pitch_name(60) == "C4"
    assert pitch_name(0) == "C-1"
    assert pitch_name(70) == "B♭4"


def test_bars_may_have_three_quarters() -> None:
    piece = Piece((Note(0, 60, 24),), 24)
    root = _parsed(piano_roll(piece, quarters_per_bar=3).figure)
    lines = [one.get("d", "") for one in root.iter(f"{SVG}path") if one.get("stroke") == LIGHT["strong-rule"]]
    assert [line.count("M") for line in lines] == [1, 3], "the C, and two bars"
    x = [float(line.split()[0]) for line in lines[1].split("M")[1:]]
    assert np.diff(x) == pytest.approx(12 * Roll.of(piece, 3).step_width)
    with pytest.raises(ValueError, match="0 quarters per bar; at least 1"):
        piano_roll(piece, quarters_per_bar=0)


def test_a_png_has_the_color_of_a_note_where_the_note_is(tmp_path: Path) -> None:
    save_figure(piano_roll(PIECE, title="Two", given={BASS}).figure, tmp_path / "roll.png")
    pixels = np.round(255 * image.imread(tmp_path / "roll.png")[:, :, :3]).astype(int)
    middles = [(round(2 * (box.y + ROW / 2)), round(2 * (box.x + 9))) for box in Roll.of(PIECE).boxes()]
    assert tuple(pixels[middles[0]]) == tuple(bytes.fromhex(LIGHT[VOICE_COLORS[0]][1:]))
    assert pixels[middles[1]].min() > 180  # pale: it was given
