"""The page of generated music: whole, without anything from outside, and safe against odd names."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image

from recitative.music.melody import HOP, SAMPLE_RATE, Melody, PitchTrack, TranscribedNote
from recitative.music.page import (
    LEFT,
    ROW,
    TEMPI,
    VOICE_COLORS,
    Comparison,
    Exhibit,
    Roll,
    charts,
    melody_figure,
    music_page,
    piano_roll,
    pitch_name,
)
from recitative.music.piece import Notation, Note, Piece
from recitative.music.statistics import Copy, statistics
from recitative.report.figure import LIGHT, save_figure, to_svg
from recitative.report.page import DASH
from whole_page import WholePage

PIECE = Piece((Note(0, 67, 4, 0), Note(0, 64, 4, 1), Note(0, 60, 8, 2)), 8)
OTHER = Piece((Note(0, 69, 8, 0), Note(0, 62, 4, 1), Note(4, 53, 4, 2)), 8)
NOTATION = Notation((4, 4), 2, True, ("Tune",))
MIDI = b"MThd and so on"


def _sound(container: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((800, 1), np.float32), 8000, format=container)
    return buffer.getvalue()


def _comparison() -> Comparison:
    copies = [("First", Copy(6, "train/007", 12, -2, 1)), ("Second", Copy())]
    return Comparison(statistics([PIECE], 3), statistics([PIECE, OTHER], 3), "training set", copies)


def test_the_page_holds_pictures_sounds_files_and_numbers() -> None:
    items = [
        Exhibit("First", PIECE, MIDI, _sound("OGG"), "A note.", {PIECE.notes[0]}, 4),
        Exhibit("As written", replace(OTHER, notation=NOTATION), MIDI, _sound("WAV")),
    ]
    page = music_page(items, title="Chorales", about="Model x · seed 7", comparison=_comparison())
    assert '<p class="muted">Model x · seed 7</p>' in page
    assert "100 quarters a minute · B minor" in page
    assert "Tune" in page  # in the legend
    tags = WholePage(page)
    assert page.count("data-systems=") == 2
    assert [uri and uri.split(";")[0] for uri in tags.attributes("audio", "src")] == [
        "data:audio/ogg",
        "data:audio/wav",
    ]
    uri = tags.attributes("a", "href")[0]
    assert uri is not None
    assert base64.b64decode(uri.removeprefix("data:audio/midi;base64,")) == MIDI
    assert tags.attributes("a", "download") == ["first.mid", "as-written.mid"]
    assert page.count('class="card chart"') == 4
    assert "train/007" in page
    assert ">6 steps<" in page


@pytest.fixture(scope="module")
def heard() -> Melody:
    """A4 and C5 in turn, quarter notes of 100 a minute, 30 cents sharp."""
    pytest.importorskip("librosa", reason="librosa draws the chroma and the tempogram")
    pitches = np.repeat([69, 72] * 4, SAMPLE_RATE * 6 // 10) + 0.3
    samples = 0.3 * np.sin(2 * np.pi * np.cumsum(440 * 2 ** ((pitches - 69) / 12)) / SAMPLE_RATE)
    notes = [TranscribedNote(0.6 * n, 0.6 * n + 0.6, 72 if n % 2 else 69, 30.0) for n in range(8)]
    piece = Piece(tuple(Note(4 * n, note.pitch, 4) for n, note in enumerate(notes)), 32, 4, 100.0, "hum")
    track = PitchTrack(pitches[::HOP], np.zeros(len(pitches[::HOP])), 1.0, 1.0)
    return Melody(tuple(notes), piece, 30.0, samples.astype(np.float32), track)


def test_the_figure_of_a_melody_shows_its_notes_its_pitch_classes_and_its_tempo(heard: Melody) -> None:
    figure = melody_figure(heard)
    titles = [one.text for one in ElementTree.fromstring(to_svg(figure)).iter("{http://www.w3.org/2000/svg}title")]
    assert titles == [
        *(f"{'C5' if n % 2 else 'A4'}, +30 cents, {0.6 * n:.2f} to {0.6 * n + 0.6:.2f} s" for n in range(8)),
        "100 quarters per minute",
    ]
    pitch, chroma, tempo = figure.axes
    assert np.unique(np.round(pitch.lines[0].get_ydata(), 6)).tolist() == [69, 72]
    levels = chroma.images[0].get_array()[::-1]  # C at the bottom
    assert [int(levels[:, frame].argmax()) for frame in (30, 90, 150, 210)] == [9, 0, 9, 0]
    similar = tempo.images[0].get_array()[::-1].mean(axis=1)
    near = np.abs(TEMPI - 100) < 8
    assert similar[near].min() > 1.5 * similar[(TEMPI > 115) & (TEMPI < 170)].max()


def test_a_page_has_the_recording_of_a_melody_and_how_it_was_heard(heard: Melody) -> None:
    page = music_page([Exhibit("Hum", PIECE, MIDI, heard=heard)] * 2, title="T")
    assert WholePage(page).attributes("audio", "aria-label") == ["Recording of Hum"] * 2
    assert page.count('aria-label="Melody of hum: 8 notes, ') == 2


def test_nothing_comes_from_outside() -> None:
    page = music_page([Exhibit("First", PIECE, MIDI, _sound("WAV"))], title="T", comparison=_comparison())
    addresses = WholePage(page).addresses
    assert len(addresses) == 2
    assert all(address.startswith("data:") for address in addresses)
    assert "@import" not in page
    assert "url(" not in page.replace("url(#", "")
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}


def test_names_cannot_break_the_page() -> None:
    odd = "<script>alert(\"1\")</script> & 'more'"
    comparison = Comparison(statistics([PIECE], 3), statistics([OTHER], 3), odd, [(odd, Copy(1, odd))])
    page = music_page([Exhibit(odd, PIECE, MIDI, note=odd)], title=odd, comparison=comparison)
    assert "<script>alert" not in page
    assert len([tag for tag, _ in WholePage(page).tags if tag == "script"]) == 1


def test_a_piece_without_sound_has_its_picture_and_file() -> None:
    tags = WholePage(music_page([Exhibit("???", PIECE, MIDI)], title="T"))
    assert not tags.attributes("audio", "src")
    assert tags.attributes("a", "download") == ["piece.mid"]


def test_every_player_and_scrolling_part_can_be_reached_and_has_a_name() -> None:
    tags = WholePage(music_page([Exhibit("First", PIECE, MIDI, _sound("WAV"))], title="T", comparison=_comparison()))
    assert tags.attributes("audio", "aria-label") == ["First"]
    groups = [attrs for _, attrs in tags.tags if attrs.get("role") == "group"]
    assert [attrs.get("aria-label") for attrs in groups] == [
        "Longest copies",
        "Piano roll of First: space plays, arrow keys move",
    ]
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in groups)


def test_undefined_numbers_are_a_dash() -> None:
    nothing = statistics([], 3)
    page = music_page([], title="T", comparison=Comparison(nothing, nothing))
    assert "nan" not in page.lower().replace("semantic", "")
    assert DASH in page


def test_histograms_are_shares_of_each_corpus() -> None:
    other = statistics([Piece((Note(0, 60, 8),), 8)], 3)
    captions = [caption for caption, _ in charts(statistics([PIECE], 3), other, ("one", "two"))]
    assert captions == ["Pitch classes, by duration", "Melodic intervals", "Note lengths", "Chords, by duration"]
    figure = charts(statistics([PIECE], 3), other, ("one", "two"))[0][1]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[:12] == pytest.approx([0.5, 0, 0, 0, 0.25, 0, 0, 0.25, 0, 0, 0, 0])
    assert heights[12:] == pytest.approx([1.0] + [0] * 11)


# Piano rolls


SVG = "{http://www.w3.org/2000/svg}"
SOPRANO, BASS = Note(0, 72, 4, 0), Note(2, 48, 6, 1)
TWO_NOTES = Piece((SOPRANO, BASS), 16, name="two notes")

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
    first, second = _notes(piano_roll(TWO_NOTES).figure)
    top = piano_roll(TWO_NOTES).systems[0][3]
    assert _place(first) == pytest.approx((LEFT, top + 2 * ROW, 4 * 9 - 1.2, ROW))
    assert _place(second) == pytest.approx((LEFT + 2 * 9, top + (2 + 72 - 48) * ROW, 6 * 9 - 1.2, ROW))
    assert first.findtext(f"{SVG}title") == "C5, 1 quarter, 0.00 s"
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
    root = _parsed(piano_roll(piece).figure)
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
        figure = piano_roll(TWO_NOTES, given=given_notes).figure
        assert [one.get("stroke") for one in _notes(figure)] == [None, LIGHT[VOICE_COLORS[1]]]
        assert {"generated", "given"} <= set(_texts(figure))
    assert "given" not in _texts(piano_roll(TWO_NOTES).figure)


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
    save_figure(piano_roll(TWO_NOTES, given={BASS}).figure, tmp_path / "roll.png")
    pixels = np.round(255 * image.imread(tmp_path / "roll.png")[:, :, :3]).astype(int)
    middles = [(round(2 * (box.y + ROW / 2)), round(2 * (box.x + 9))) for box in Roll.of(TWO_NOTES).boxes()]
    assert tuple(pixels[middles[0]]) == tuple(bytes.fromhex(LIGHT[VOICE_COLORS[0]][1:]))
    assert pixels[middles[1]].min() > 180  # pale: it was given
