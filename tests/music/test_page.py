"""The page of generated music: whole, without anything from outside, and safe against odd names."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from recitative.music.page import Comparison, Exhibit, charts, music_page
from recitative.music.piece import Note, Piece
from recitative.music.statistics import Copy, statistics
from recitative.report.page import DASH
from whole_page import WholePage

PIECE = Piece((Note(0, 67, 4, 0), Note(0, 64, 4, 1), Note(0, 60, 8, 2)), 8)
OTHER = Piece((Note(0, 69, 8, 0), Note(0, 62, 4, 1), Note(4, 53, 4, 2)), 8)
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
        Exhibit("As written", OTHER, MIDI, _sound("WAV")),
    ]
    page = music_page(items, title="Chorales", comparison=_comparison())
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
    assert [attrs.get("aria-label") for attrs in groups] == ["Longest copies", "Piano roll of First"]
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in groups)


def test_what_cannot_be_told_is_a_dash() -> None:
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
