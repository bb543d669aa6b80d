"""Soundfonts: where they are looked for, and one of a single sine played."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from recitative.errors import DataError, UsageError
from recitative.music import synth
from recitative.music.piece import Note, Piece
from recitative.music.synth import PEAK, render

RATE = 44100
ROOT = 69
PIECE = Piece((Note(4, 69, 4, 0), Note(8, 81, 4, 1)), 16, 4, 120.0, "two")  # steps of 0.125 s


def _chunk(name: str, content: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _list(name: str, *chunks: bytes) -> bytes:
    return _chunk("LIST", name.encode() + b"".join(chunks))


def _named(name: str) -> bytes:
    return name.encode().ljust(20, b"\0")


def sine_soundfont() -> bytes:
    """SoundFont 2.04, one preset, instrument and looped sample: 100 periods of 441 Hz, said to be A4 (4 cents off)."""
    wave = np.round(20000 * np.sin(2 * np.pi * np.arange(10000) / 100)).astype("<i2")
    samples = wave.tobytes() + b"\0\0" * 46
    header = _named("sine") + struct.pack("<5IBbHH", 0, 10000, 1000, 9000, RATE, ROOT, 0, 0, 1)
    end = _named("EOS") + bytes(26)
    info = _list("INFO", _chunk("ifil", struct.pack("<HH", 2, 4)), _chunk("isng", b"EMU8000\0"), _chunk("INAM", b"s\0"))
    hydra = _list(
        "pdta",
        _chunk("phdr", _named("sine") + struct.pack("<HHHIII", 0, 0, 0, 0, 0, 0) + _named("EOP")
               + struct.pack("<HHHIII", 0, 0, 1, 0, 0, 0)),
        _chunk("pbag", struct.pack("<HHHH", 0, 0, 1, 0)),
        _chunk("pmod", bytes(10)),
        _chunk("pgen", struct.pack("<HHHH", 41, 0, 0, 0)),  # 41: instrument
        _chunk("inst", _named("sine") + struct.pack("<H", 0) + _named("EOI") + struct.pack("<H", 1)),
        _chunk("ibag", struct.pack("<HHHH", 0, 0, 2, 0)),
        _chunk("imod", bytes(10)),
        _chunk("igen", struct.pack("<HHHHHH", 54, 1, 53, 0, 0, 0)),  # 54: loop; 53: sample
        _chunk("shdr", header + end),
    )  # fmt: skip
    return _chunk("RIFF", b"sfbk" + info + _list("sdta", _chunk("smpl", samples)) + hydra)


@pytest.fixture
def sine(tmp_path: Path) -> Path:
    pytest.importorskip("tinysoundfont", reason="TinySoundFont is not installed")
    path = tmp_path / "sine.sf2"
    path.write_bytes(sine_soundfont())
    return path


def test_notes_of_a_soundfont_have_their_times_and_pitches(sine: Path) -> None:
    sound = render(PIECE, soundfont=sine)
    assert sound.shape == (3 * RATE, 2)  # two seconds of piece, one in which notes fade
    assert 0.01 < np.abs(sound).max() <= PEAK
    level = np.abs(sound).max(axis=1)
    assert 0.5 <= int(np.argmax(level > 0.1 * level.max())) / RATE < 0.505
    assert not level[: RATE // 2].any()
    for start_s, hertz in ((0.6, 441.0), (1.1, 882.0)):
        part = sound[int(start_s * RATE) : int((start_s + 0.3) * RATE)].sum(axis=1)
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17))
        assert spectrum.argmax() * RATE / (1 << 17) == pytest.approx(hertz, rel=0.002)


def test_a_soundfont_sounds_the_same_each_time_and_spreads_the_voices(sine: Path) -> None:
    once = render(PIECE, soundfont=sine)
    np.testing.assert_array_equal(once, render(PIECE, soundfont=sine))
    first = np.square(once[:RATE]).sum(axis=0)
    assert first[0] > first[1]


def test_a_program_that_the_soundfont_lacks_is_named(sine: Path) -> None:
    with pytest.raises(UsageError, match=r"sine\.sf2: has no program 200; 0 to 127"):
        render(PIECE, soundfont=sine, program=200)


def test_a_file_that_is_no_soundfont_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tinysoundfont", reason="TinySoundFont is not installed")
    (tmp_path / "bad.sf2").write_bytes(b"RIFF, or so it says")
    with pytest.raises(DataError, match=r"bad\.sf2: is not a soundfont .*an sf2 or sf3 file"):
        render(PIECE, soundfont=tmp_path / "bad.sf2")
    with pytest.raises(DataError, match=r"none\.sf2: does not exist; an sf2 or sf3 file"):
        render(PIECE, soundfont=tmp_path / "none.sf2")


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(UsageError, match="pip install --no-deps tinysoundfont"):
        render(PIECE, soundfont=Path("any.sf2"))


def test_the_variable_comes_first_then_the_usual_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.sf2", "a.SF3", "readme.txt", "named.sf2"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(synth, "FOLDERS", (tmp_path / "absent", tmp_path))
    monkeypatch.delenv(synth.ENVIRONMENT, raising=False)
    assert synth.find_soundfont() == tmp_path / "a.SF3"
    monkeypatch.setenv(synth.ENVIRONMENT, str(tmp_path / "named.sf2"))
    assert synth.find_soundfont() == tmp_path / "named.sf2"
    monkeypatch.setenv(synth.ENVIRONMENT, str(tmp_path / "gone.sf2"))
    with pytest.raises(UsageError, match=r"RECITATIVE_SOUNDFONT: '.*gone\.sf2' is not a file; an sf2 or sf3 file"):
        synth.find_soundfont()


def test_the_soundfont_inside_pretty_midi_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pretty_midi"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "small.sf2").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(synth.ENVIRONMENT, raising=False)
    monkeypatch.setattr(synth, "FOLDERS", ())
    assert synth.find_soundfont() == package / "small.sf2"


def test_a_repeated_note_ends_before_it_begins_again() -> None:
    events = synth._events(Piece((Note(0, 60, 4), Note(4, 60, 4)), 8, 4, 120.0), 8000)
    assert [(sample, kind) for sample, kind, *_ in events] == [(0, 1), (4000, 0), (4000, 1), (8000, 0)]
