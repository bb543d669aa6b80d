"""The piano roll: every note lies where its time and pitch say, in a file that any reader of XML takes."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import UsageError
from recitative.music.picture import DARK, LIGHT, piano_roll_svg, write_picture
from recitative.music.piece import Note, Piece
from recitative.music.roll import LEFT, ROW, Roll, pitch_name

SVG = "{http://www.w3.org/2000/svg}"
SOPRANO, BASS = Note(0, 72, 4, 0), Note(2, 48, 6, 1)
PIECE = Piece((SOPRANO, BASS), 16, name="two notes")

notes = st.builds(Note, st.integers(0, 400), st.integers(0, 127), st.integers(1, 80), st.integers(0, 7))


def _parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def _rectangles(svg: str, kind: str = "note") -> list[ElementTree.Element]:
    return [one for one in _parsed(svg).iter(f"{SVG}rect") if kind in one.get("class", "").split()]


def test_a_rectangle_lies_at_its_time_and_pitch() -> None:
    """One bar of 16 steps of 9 units; rows of 5 units, two above the highest note."""
    first, second = _rectangles(piano_roll_svg(PIECE))
    top = float(_systems(piano_roll_svg(PIECE))[0].get("data-y", ""))
    assert float(first.get("x", "")) == LEFT
    assert float(first.get("y", "")) == top + 2 * ROW
    assert float(first.get("width", "")) == pytest.approx(4 * 9 - 1.2)
    assert float(second.get("x", "")) == LEFT + 2 * 9
    assert float(second.get("y", "")) == top + (2 + 72 - 48) * ROW
    assert first.findtext(f"{SVG}title") == "C5, 1 quarters, 0.00 s"


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


@settings(max_examples=30, deadline=None)
@given(st.lists(notes, max_size=30), st.text(max_size=20).filter(str.isprintable))
def test_it_is_valid_xml_whatever_the_title(drawn: list[Note], title: str) -> None:
    piece = Piece.of(drawn, 4, 100.0, title)
    root = _parsed(piano_roll_svg(piece, title=title))
    assert root.tag == f"{SVG}svg"
    assert np.isfinite([float(number) for number in root.get("viewBox", "").split()]).all()


def _systems(svg: str) -> list[ElementTree.Element]:
    return [one for one in _parsed(svg).iter(f"{SVG}g") if one.get("class") == "system"]


@pytest.mark.parametrize(("bars", "systems"), [(1, 1), (4, 1), (8, 1), (9, 2), (64, 8), (65, 5), (200, 13)])
def test_long_pieces_are_broken_into_systems(bars: int, systems: int) -> None:
    piece = Piece((Note(0, 60, 4), Note(16 * bars - 4, 76, 4)), 16 * bars, 4, 120.0)
    found = _systems(piano_roll_svg(piece))
    assert len(found) == systems
    assert float(found[-1].get("data-to", "")) == pytest.approx(2.0 * bars)
    width, height = Roll.of(piece).width, Roll.of(piece).height
    assert 400 < width <= 960
    assert height < 2.2 * 960


def test_the_times_of_systems_follow_one_another() -> None:
    found = _systems(piano_roll_svg(Piece((Note(0, 60, 16 * 20),), 16 * 20)))
    ends = [float(one.get("data-to", "")) for one in found]
    assert [float(one.get("data-from", "")) for one in found] == [0.0, *ends[:-1]]


def test_given_notes_are_outlined_and_explained() -> None:
    for given_notes in ({BASS}, [BASS], lambda note: note.voice == 1):
        svg = piano_roll_svg(PIECE, given=given_notes)
        assert [("given" in one.get("class", "").split()) for one in _rectangles(svg)] == [False, True]
        assert ">generated<" in svg
        assert ">given<" in svg
    assert ">given<" not in piano_roll_svg(PIECE)


def test_pitches_and_bars_are_named() -> None:
    texts = [
        one.text for one in _parsed(piano_roll_svg(Piece((Note(0, 60, 40), Note(0, 81, 1)), 40))).iter(f"{SVG}text")
    ]
    assert [text for text in texts if text and text.startswith("C")] == ["C4", "C5"]
    assert {"1", "2", "3"} <= set(texts)
    assert pitch_name(60) == "C4"
    assert pitch_name(0) == "C-1"
    assert pitch_name(70) == "B♭4"


def test_bars_may_have_three_quarters() -> None:
    piece = Piece((Note(0, 60, 24),), 24)
    assert sum(one.get("class") == "bar" for one in _parsed(piano_roll_svg(piece, quarters_per_bar=3)).iter()) == 3
    with pytest.raises(ValueError, match="0 quarters a bar; at least 1"):
        piano_roll_svg(piece, quarters_per_bar=0)


@pytest.mark.parametrize(("colours", "back"), [(LIGHT, "#ffffff"), (DARK, "#1e2125")])
def test_voices_stand_out_from_the_page_and_each_other(colours: tuple[str, ...], back: str) -> None:
    """WCAG 2.1 asks of graphics a contrast of 3 : 1; four voices hold it, the fifth and sixth nearly."""
    contrasts = [_contrast(colour, back) for colour in colours]
    assert min(contrasts[:4]) >= 3
    assert min(contrasts) >= 2
    assert len(set(colours)) == len(colours)


def _contrast(first: str, second: str) -> float:
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_picture_is_written_by_its_suffix(tmp_path: Path) -> None:
    write_picture(PIECE, tmp_path / "roll.svg", title="Two")
    assert (tmp_path / "roll.svg").read_text(encoding="utf-8") == piano_roll_svg(PIECE, title="Two")
    with pytest.raises(UsageError, match=r"roll\.pdf: a picture cannot be '\.pdf'; \.svg or \.png; choose one of them"):
        write_picture(PIECE, tmp_path / "roll.pdf")


def test_a_png_has_the_colour_of_a_note_where_the_note_is(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
    write_picture(PIECE, tmp_path / "roll.png", given={BASS})
    pixels = np.round(255 * image.imread(tmp_path / "roll.png")[:, :, :3]).astype(int)
    middles = [(round(2 * (box.y + box.height / 2)), round(2 * (box.x + 9))) for box in Roll.of(PIECE).boxes()]
    assert tuple(pixels[middles[0]]) == tuple(bytes.fromhex(LIGHT[0][1:]))
    assert pixels[middles[1]].min() > 180  # pale: it was given


def test_a_png_without_matplotlib_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"roll\.png: a PNG needs matplotlib; pip install matplotlib, or choose"):
        write_picture(PIECE, tmp_path / "roll.png")
