"""Every container, complete and damaged: all samples are read, or missing ones are an error; none are lost silently."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recitative.audio.files import Samples, inspect, open_blocks, read_audio
from recitative.errors import DataError

RATE = 16000
N = RATE * 6  # several pages of Ogg

Written = Callable[[bytearray, float], None]
"""Makes the header of a file say so many times the samples that there are; 0: it leaves that open."""


def speech() -> Samples:
    """A chirp with pauses."""
    t = np.arange(N) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 150 * t) * t) * (np.sin(2 * np.pi * 3 * t) > -0.5)).astype(np.float32)


def sized(name: bytes, size: str, lead: int = 0, offset: int = 4, unknown: int | None = None) -> Written:
    """A size of the format ``size`` that stands ``offset`` bytes behind a name and counts ``lead`` bytes more."""

    def write(content: bytearray, times: float) -> None:
        at = content.index(name) + offset
        (there,) = struct.unpack_from(size, content, at)
        open_size = unknown if unknown is not None else 0
        value = lead + int((there - lead) * times) // 4 * 4 if times else open_size
        struct.pack_into(size, content, at, value)

    return write


def aiff(content: bytearray, times: float) -> None:
    sized(b"SSND", ">I", 8)(content, times)
    at = content.index(b"COMM") + 10
    struct.pack_into(">I", content, at, int(struct.unpack_from(">I", content, at)[0] * times))


def flac(content: bytearray, times: float) -> None:
    packed = int.from_bytes(content[18:26], "big")
    total = packed & (1 << 36) - 1
    content[18:26] = (packed - total + int(total * times)).to_bytes(8, "big")


def mp3(content: bytearray, times: float) -> None:
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    struct.pack_into(">I", content, at, int(struct.unpack_from(">I", content, at)[0] * times))


def without_xing(content: bytes) -> bytes:
    """An MP3 without its first frame."""
    at = content.index(b"\xff", 1)
    while content[at : at + 2] != content[:2] or b"Xing" in content[at:] or b"Info" in content[at:]:
        at = content.index(b"\xff", at + 1)
    return content[at:]


CONTAINERS: dict[str, tuple[dict[str, object], Written | None]] = {
    "wav": ({"format": "WAV"}, sized(b"data", "<I")),
    "wav, unknown": ({"format": "WAV", "subtype": "FLOAT"}, sized(b"data", "<I", unknown=0xFFFFFFFF)),
    "rf64": ({"format": "RF64"}, sized(b"ds64", "<Q", offset=16)),
    "w64": ({"format": "W64"}, sized(b"data", "<Q", 24, 16)),
    "aiff": ({"format": "AIFF"}, aiff),
    "au": ({"format": "AU"}, sized(b".snd", ">I", offset=8)),
    "au, unknown": ({"format": "AU"}, sized(b".snd", ">I", offset=8, unknown=0xFFFFFFFF)),
    "caf": ({"format": "CAF"}, sized(b"data", ">q", 4, unknown=-1)),
    "flac": ({"format": "FLAC"}, flac),
    "vorbis": ({"format": "OGG", "subtype": "VORBIS"}, None),
    "opus": ({"format": "OGG", "subtype": "OPUS"}, None),
    "mp3 cbr": ({"format": "MP3", "bitrate_mode": "CONSTANT"}, mp3),
    "mp3 vbr": ({"format": "MP3", "bitrate_mode": "VARIABLE"}, mp3),
    "mp3 cbr, no xing": ({"format": "MP3", "bitrate_mode": "CONSTANT"}, None),
    "mp3 vbr, no xing": ({"format": "MP3", "bitrate_mode": "VARIABLE"}, None),
}


@pytest.fixture(scope="module", params=CONTAINERS)
def container(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    path = tmp_path_factory.mktemp("whole") / "a"
    soundfile.write(path, speech(), RATE, **CONTAINERS[request.param][0])
    content = path.read_bytes()
    return request.param, without_xing(content) if "no xing" in request.param else content


def decoded(path: Path, partial: bool = False) -> Samples:
    """The samples, equal for all ways to read them."""
    info = inspect(path, partial=partial)
    samples, rate = read_audio(path, partial=partial)
    assert rate == RATE
    assert len(samples) == info.num_samples
    with open_blocks(path, 0.1, partial=partial) as (header, blocks):
        assert header == info
        np.testing.assert_allclose(np.concatenate(list(blocks)), samples, atol=1e-4)
    middle = len(samples) // 2
    part, _ = read_audio(path, start_s=middle / RATE, end_s=(middle + 800) / RATE, partial=partial)
    np.testing.assert_allclose(part, samples[middle : middle + 800], atol=0.01)
    return samples


def refused(path: Path, match: str) -> Samples:
    """The samples that ``partial`` reads of a recording that is refused otherwise."""
    for read in (inspect, read_audio):
        with pytest.raises(DataError, match=match):
            read(path)
    with pytest.raises(DataError, match=match), open_blocks(path, 0.1) as (_, blocks):
        list(blocks)
    return decoded(path, partial=True)


def test_a_whole_recording_has_all_its_samples(container: tuple[str, bytes], tmp_path: Path) -> None:
    name, content = container
    (tmp_path / "a").write_bytes(content)
    samples = decoded(tmp_path / "a")
    if "no xing" in name:  # its delay and padding stay
        assert N <= len(samples) <= N + 4 * 1152
    else:
        assert abs(len(samples) - N) <= 0.01 * RATE
        assert np.abs(samples[:N] - speech()[: len(samples)]).mean() < 0.03


def test_a_truncated_recording_is_refused(container: tuple[str, bytes], tmp_path: Path) -> None:
    _, content = container
    for kept in (0.6, 0.9):
        (tmp_path / "a").write_bytes(content[: int(len(content) * kept) + 1])
        assert 0.5 * kept * N < len(refused(tmp_path / "a", "truncated")) < (kept + 0.2) * N


def test_joined_recordings_are_read_to_the_last(container: tuple[str, bytes], tmp_path: Path) -> None:
    _, content = container
    (tmp_path / "one").write_bytes(content)
    (tmp_path / "two").write_bytes(content + content)
    one, two = decoded(tmp_path / "one"), decoded(tmp_path / "two")
    assert abs(len(two) - 2 * len(one)) <= 0.04 * RATE  # a decoder that goes on has no delay again
    np.testing.assert_allclose(two[: len(one) // 2], one[: len(one) // 2], atol=1e-4)


@pytest.mark.parametrize(
    ("times", "match"), [(0.5, "after the end that its header gives"), (2.0, "truncated"), (1.001, ""), (0.0, "")]
)
def test_a_length_in_the_header_is_a_hint(
    container: tuple[str, bytes], tmp_path: Path, times: float, match: str
) -> None:
    name, content = container
    write = CONTAINERS[name][1]
    if write is None:
        pytest.skip("its header tells no length")
    changed = bytearray(content)
    write(changed, times)
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "changed").write_bytes(changed)
    whole = decoded(tmp_path / "whole")
    counted = name.startswith("mp3") and times < 1  # its frames say how many they are
    samples = refused(tmp_path / "changed", match) if match and not counted else decoded(tmp_path / "changed")
    np.testing.assert_allclose(samples, whole, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("01_joined.mp3", 6.65),
        ("02_noxing_vbr.mp3", 3.96),
        ("02_rates_high_then_low.mp3", 9.69),
        ("03_chained.ogg", 6.65),
        ("04_half.aiff", "is truncated: 44408 bytes of samples missing"),
        ("04_half_rf64.wav", "is truncated: 44438 bytes of samples missing"),
        ("05_data_size_0.wav", 2.77),
        ("06_data_size_plus_44.wav", 2.77),
        ("07_data_size_half.wav", "has 44380 bytes after the end that its header gives"),
        ("08_piped.flac", 2.77),
        ("26_common_voice_1.mp3", 4.93),
        ("26_common_voice_2.mp3", 2.88),
    ],
)
def test_recordings_from_the_field(name: str, found: float | str) -> None:
    path = Path(__file__).parents[1] / "field_cases" / name
    if isinstance(found, str):
        with pytest.raises(DataError, match=found):
            inspect(path)
        return
    samples, rate = read_audio(path)
    assert len(samples) / rate == pytest.approx(found, abs=0.01)
    with open_blocks(path, 0.5) as (info, blocks):
        assert sum(map(len, blocks)) == info.num_samples == len(samples)


def test_chunks_around_the_samples_are_not_read_as_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    for behind in (b"LIST\x04\0\0\0INFO", b"id3 \xff\0\0\0cut", b"TAG" + bytes(125), bytes(5000), b"abcd\x02\0\0\0xx"):
        (tmp_path / "b.wav").write_bytes(content + behind)
        assert len(decoded(tmp_path / "b.wav")) == N
    note = b"LIST\x05\0\0\0hello\0"  # an odd size is padded by one byte
    (tmp_path / "b.wav").write_bytes(content[:12] + note + content[12:] + note)
    assert len(decoded(tmp_path / "b.wav")) == N


def test_joined_recordings_of_two_rates_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", speech(), RATE)
    soundfile.write(tmp_path / "b.flac", speech(), 8000)
    (tmp_path / "c.flac").write_bytes((tmp_path / "a.flac").read_bytes() + (tmp_path / "b.flac").read_bytes())
    assert len(refused(tmp_path / "c.flac", "is several recordings, the first of 16000 Hz and 1 channels")) == N
