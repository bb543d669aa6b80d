"""The page of generated music: whole, without anything from outside, and safe against odd names."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from recitative.music.copies import Copy
from recitative.music.page import Comparison, Exhibit, music_page
from recitative.music.page_chart import Bars, draw
from recitative.music.piece import Note, Piece
from recitative.music.statistics import statistics

PIECE = Piece((Note(0, 67, 4, 0), Note(0, 64, 4, 1), Note(0, 60, 8, 2)), 8)
OTHER = Piece((Note(0, 69, 8, 0), Note(0, 62, 4, 1), Note(4, 53, 4, 2)), 8)
MIDI = b"MThd and so on"


class _Tags(HTMLParser):
    """Opening tags with their attributes; fails on a tag that isn't closed in its turn."""

    EMPTY = frozenset({"meta", "br", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attrs.get(name) for found, attrs in self.found if found == tag]


def _sound(container: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((800, 1), np.float32), 8000, format=container)
    return buffer.getvalue()


def _comparison() -> Comparison:
    copies = [("First", Copy(6, "train/007", 12, -2, 1)), ("Second", Copy())]
    return Comparison(statistics([PIECE], 3), statistics([PIECE, OTHER], 3), "training set", copies)


def test_the_page_holds_pictures_sounds_files_and_numbers() -> None:
    original = Exhibit("As written", OTHER, MIDI, _sound("WAV"))
    items = [Exhibit("First", PIECE, MIDI, _sound("OGG"), "A note.", {PIECE.notes[0]}, 4, original)]
    page = music_page(items, title="Chorales", description="Seed 1.", comparison=_comparison())
    tags = _Tags(page)
    assert page.count('class="piano-roll"') == 2
    assert [uri and uri.split(";")[0] for uri in tags.attributes("audio", "src")] == [
        "data:audio/ogg",
        "data:audio/wav",
    ]
    uri = tags.attributes("a", "href")[0]
    assert uri is not None
    assert base64.b64decode(uri.removeprefix("data:audio/midi;base64,")) == MIDI
    assert tags.attributes("a", "download") == ["first.mid", "as-written.mid"]
    assert page.count('class="bars"') == 4
    assert "train/007" in page
    assert ">6 steps<" in page


def test_nothing_comes_from_outside() -> None:
    page = music_page([Exhibit("First", PIECE, MIDI, _sound("WAV"))], title="T", comparison=_comparison())
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert all(address.startswith("data:") for address in addresses)
    assert "@import" not in page
    assert "url(" not in page
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}


def test_names_cannot_break_the_page() -> None:
    odd = "<script>alert(\"1\")</script> & 'more'"
    comparison = Comparison(statistics([PIECE], 3), statistics([OTHER], 3), odd, [(odd, Copy(1, odd))])
    page = music_page([Exhibit(odd, PIECE, MIDI, note=odd)], title=odd, description=odd, comparison=comparison)
    assert "<script>alert" not in page
    assert len([tag for tag, _ in _Tags(page).found if tag == "script"]) == 1


def test_a_piece_without_sound_has_its_picture_and_file() -> None:
    tags = _Tags(music_page([Exhibit("???", PIECE, MIDI)], title="T"))
    assert not tags.attributes("audio", "src")
    assert tags.attributes("a", "download") == ["piece.mid"]


def test_every_player_and_scrolling_part_can_be_reached_and_has_a_name() -> None:
    tags = _Tags(music_page([Exhibit("First", PIECE, MIDI, _sound("WAV"))], title="T", comparison=_comparison()))
    assert tags.attributes("audio", "aria-label") == ["First"]
    groups = [attrs for _, attrs in tags.found if attrs.get("role") == "group"]
    assert len(groups) == 2
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in groups)


def test_what_cannot_be_told_is_a_dash() -> None:
    nothing = statistics([], 3)
    page = music_page([], title="T", comparison=Comparison(nothing, nothing))
    assert "nan" not in page.lower().replace("semantic", "")
    assert "&ndash;" in page


def test_bars_are_as_high_as_their_shares() -> None:
    figure = draw(Bars("Counts", ["a", "b"], [1, 3], [50, 50]), ("one", "two"))
    heights = [float(height) for height in re.findall(r'<rect class="s\d"[^>]* height="([\d.]+)"', figure)]
    assert heights == pytest.approx([h * heights[2] / 0.75 for h in (0.25, 0.5, 0.75, 0.5)], abs=0.1)
    assert "a: one 25.0 % · two 50.0 %" in figure
