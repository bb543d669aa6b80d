"""Synthesis: pitches, times, silence and level of the built-in synthesizer, and soundfonts."""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from recitative.errors import DataError, UsageError
from recitative.music import midi
from recitative.music.midi import HARMONICS, PEAK, frequency, mp3_bytes, render, tone
from recitative.music.piece import Note, Piece

RATE = 44100


def _one(pitch: int, start: int = 4, length: int = 8, steps: int = 16) -> Piece:
    """One step lasts 0.125 s."""
    return Piece((Note(start, pitch, length),), steps, 4, 120.0, "one")


def _loudest_hertz(samples: np.ndarray, rate: int) -> float:
    """The strongest spectral peak, between bins by a parabola through the logarithms."""
    size = 1 << 18
    levels = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size)) + 1e-12)
    k = int(levels.argmax())
    left, top, right = levels[k - 1 : k + 2]
    return float((k + 0.5 * (left - right) / (left - 2 * top + right)) * rate / size)


@pytest.mark.parametrize("pitch", [28, 36, 48, 60, 69, 84, 100, 108])
def test_the_loudest_partial_of_a_note_is_its_pitch(pitch: int) -> None:
    measured = _loudest_hertz(render(_one(pitch)).sum(axis=1), RATE)
    assert abs(1200 * math.log2(measured / frequency(pitch))) < 3  # cents


def test_a_above_middle_c_has_440_hertz() -> None:
    assert frequency(69) == 440.0
    assert frequency(60) == pytest.approx(261.6256, abs=1e-4)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_a_note_sounds_from_its_start_to_its_end_and_nowhere_else(rate: int) -> None:
    level = np.abs(render(_one(60), sample_rate=rate)).max(axis=1)
    assert len(level) == 2 * rate
    first = int(np.argmax(level > 0.1 * level.max())) / rate
    assert 0.5 <= first < 0.505
    assert not level[: rate // 2].any()
    assert not level[3 * rate // 2 :].any()
    assert level[int(1.4 * rate) : int(1.45 * rate)].max() > 0.1 * level.max()  # held nearly to the end


def test_notes_begin_and_end_without_a_click() -> None:
    """No step between neighboring samples is larger than the steepest part of the tone itself."""
    sound = render(_one(60)).sum(axis=1)
    inside = np.abs(np.diff(sound[RATE // 2 + 600 : RATE])).max()
    assert np.abs(np.diff(sound)).max() <= 1.05 * inside
    assert abs(sound[3 * RATE // 2 - 1]) < 1e-3


def test_a_tone_is_the_sum_of_its_harmonics() -> None:
    """The recursion against one sine after the other."""
    time_s = np.arange(4000) / RATE
    found = tone(60, 4000, RATE)
    slow = sum(
        amplitude * np.exp(-0.9 * (1 + n) / 2 * time_s) * np.sin(2 * np.pi * n * frequency(60) * time_s)
        for n, amplitude in enumerate(HARMONICS, start=1)
    )
    after_attack = slice(400, None)
    np.testing.assert_allclose(found[after_attack], 0.25 * slow[after_attack], atol=1e-6)  # float32


def test_harmonics_beyond_the_sample_rate_are_left_out() -> None:
    spectrum = np.abs(np.fft.rfft(tone(108, 1 << 14, 22050) * np.hanning(1 << 14)))
    hertz = np.fft.rfftfreq(1 << 14, 1 / 22050)
    known = np.min([np.abs(hertz - n * frequency(108)) for n in (1, 2)], axis=0) < 40
    assert spectrum[~known].max() < 1e-2 * spectrum.max()  # an alias would be a peak elsewhere


def test_no_rendering_is_louder_than_the_peak() -> None:
    thick = Piece(tuple(Note(0, pitch, 8, pitch % 4) for pitch in range(40, 90)), 8)
    assert np.abs(render(thick)).max() == pytest.approx(PEAK, abs=1e-6)
    assert 0.05 < np.abs(render(_one(60))).max() <= PEAK


def test_the_same_piece_sounds_the_same_and_voices_come_from_left_to_right() -> None:
    piece = Piece((Note(0, 72, 4, 0), Note(4, 48, 4, 3)), 8)
    once, again = render(piece), render(piece)
    assert once.dtype == np.float32
    np.testing.assert_array_equal(once, again)
    first, second = np.split(np.square(once), 2)
    assert first[:, 0].sum() > first[:, 1].sum()
    assert second[:, 0].sum() < second[:, 1].sum()


def test_a_single_voice_is_in_the_middle_and_no_notes_are_silence() -> None:
    middle = render(_one(60))
    np.testing.assert_allclose(middle[:, 0], middle[:, 1], atol=1e-6)  # the gains are both sqrt(1/2)
    assert not render(Piece((), 16)).any()
    assert render(Piece((), 0)).shape == (0, 2)


def test_a_note_of_a_single_short_step_sounds() -> None:
    quick = Piece((Note(0, 60, 1),), 1, 48, 240.0)  # 5 ms
    assert np.abs(render(quick)).max() > 0.01


def test_mp3_keeps_length_and_pitch(tmp_path: Path) -> None:
    (tmp_path / "one.mp3").write_bytes(mp3_bytes(render(_one(69))))
    samples, rate = soundfile.read(tmp_path / "one.mp3")
    assert rate == RATE
    assert samples.shape == (2 * RATE, 2)
    assert _loudest_hertz(samples.sum(axis=1), rate) == pytest.approx(440.0, abs=0.5)


# Soundfonts


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


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TinySoundFont, as far as it is looked for."""
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "tinysoundfont.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))


def test_without_the_package_no_soundfont_of_the_system_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.sf2").write_bytes(b"")
    monkeypatch.setattr(midi, "FOLDERS", (tmp_path,))
    monkeypatch.delenv(midi.ENVIRONMENT, raising=False)
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    assert midi.find_soundfont() is None


@pytest.mark.usefixtures("installed")
def test_the_variable_comes_first_then_the_usual_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.sf2", "a.SF3", "readme.txt", "named.sf2"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(midi, "FOLDERS", (tmp_path / "absent", tmp_path))
    monkeypatch.delenv(midi.ENVIRONMENT, raising=False)
    assert midi.find_soundfont() == tmp_path / "a.SF3"
    monkeypatch.setenv(midi.ENVIRONMENT, str(tmp_path / "named.sf2"))
    assert midi.find_soundfont() == tmp_path / "named.sf2"
    monkeypatch.setenv(midi.ENVIRONMENT, str(tmp_path / "gone.sf2"))
    with pytest.raises(UsageError, match=r"RECITATIVE_SOUNDFONT: '.*gone\.sf2' is not a file; an sf2 or sf3 file"):
        midi.find_soundfont()


@pytest.mark.usefixtures("installed")
def test_the_soundfont_inside_pretty_midi_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pretty_midi"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "small.sf2").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(midi.ENVIRONMENT, raising=False)
    monkeypatch.setattr(midi, "FOLDERS", ())
    assert midi.find_soundfont() == package / "small.sf2"


class RecordingSynth:
    """TinySoundFont's interface: records the notes with their samples, and is silent."""

    def __init__(self, samplerate: int) -> None:
        self.now, self.notes = 0, []

    def generate(self, count: int) -> bytes:
        self.now += count
        return bytes(8 * count)

    def noteon(self, channel: int, pitch: int, velocity: int) -> None:
        self.notes.append((self.now, "on"))

    def noteoff(self, channel: int, pitch: int) -> None:
        self.notes.append((self.now, "off"))

    def __getattr__(self, name: str) -> object:
        return lambda *arguments: 0


def test_a_repeated_note_ends_before_it_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[RecordingSynth] = []
    module = SimpleNamespace(Synth=lambda samplerate: made.append(RecordingSynth(samplerate)) or made[-1])
    monkeypatch.setitem(sys.modules, "tinysoundfont", module)
    render(Piece((Note(0, 60, 4), Note(4, 60, 4)), 8, 4, 120.0), sample_rate=8000, soundfont=Path("any.sf2"))
    assert made[0].notes == [(0, "on"), (4000, "off"), (4000, "on"), (8000, "off")]
