"""Samples out of a pipe are those of the same file on disk, and each block is there before the next is read."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from recitative.audio.files import open_blocks, wav_header, wav_samples
from recitative.audio.live import PipedFormat, piped_blocks, read_wav_header
from recitative.errors import DataError

RATE = 8000


def sound(channels=1, samples=1000):
    return 0.5 * np.random.default_rng(0).standard_normal((samples, channels)).clip(-1.9, 1.9)


def wav(subtype, channels=1, format="WAV"):
    file = io.BytesIO()
    soundfile.write(file, sound(channels), RATE, subtype=subtype, format=format)
    return file.getvalue()


def heard(content, block_s=0.01):
    pipe = io.BytesIO(content)
    _, form = read_wav_header(pipe)
    assert form is not None
    return list(piped_blocks(pipe, form, block_s, "the pipe"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
def test_samples_are_those_that_a_file_has(tmp_path, subtype, channels, format):
    content = wav(subtype, channels, format)
    (tmp_path / "a.wav").write_bytes(content)
    with open_blocks(tmp_path / "a.wav", 0.01) as (info, expected):
        got = heard(content)
        assert [len(block) for block in got] == [80] * 12 + [40]
        assert all(block.dtype == np.float32 for block in got)
        np.testing.assert_array_equal(np.concatenate(got), np.concatenate(list(expected)))
    assert info.sample_rate == RATE


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFF0, 0])
def test_a_wav_whose_length_is_open_ends_with_the_pipe_and_half_a_sample_is_none(length):
    samples = sound()[:, 0].astype(np.float32)
    header = bytearray(wav_header(RATE))
    header[-4:] = struct.pack("<I", length)
    got = np.concatenate(heard(bytes(header) + wav_samples(samples) + b"\x01"))
    np.testing.assert_allclose(got, samples, atol=0.5 / 32768)


def test_chunks_before_and_behind_the_samples_are_passed_over():
    content = wav("PCM_16")
    told = b"LIST" + struct.pack("<I", 5) + b"INFO!\x00"  # an odd size is padded
    data = content.index(b"data")
    got = heard(content[:data] + told + content[data:] + told)
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate(heard(content)))


def test_a_block_is_given_before_more_is_read():
    content = wav("PCM_16")
    pipe = io.BytesIO(content)
    _, form = read_wav_header(pipe)
    begin = pipe.tell()
    for number, _ in enumerate(piped_blocks(pipe, form, 0.01, "the pipe"), start=1):
        assert pipe.tell() == begin + min(160 * number, 2000)


@pytest.mark.parametrize("content", [
    b"", b"RIF", b"fLaC and more", wav("ULAW"), wav("PCM_16")[:30], b"RIFF1234WAVEdata\x04\x00\x00\x00abcd",
    b"RIFF1234WAVEfmt \x02\x00\x00\x00abdata\x04\x00\x00\x00abcd",
    b"RIFF1234WAVELIST\xff\xff\xff\x7f and more",
])  # fmt: skip
def test_bytes_of_other_formats_are_returned(content):
    pipe = io.BytesIO(content)
    head, form = read_wav_header(pipe)
    assert form is None
    assert head + pipe.read() == content


def test_truncated_pipes_and_nan_are_errors_after_the_good_blocks():
    nothing = struct.pack("<f", np.nan)
    for content, expected, message in (
        (wav("PCM_16")[:-1000], 500, "the pipe: is truncated: 1000 bytes of samples missing"),
        (wav("FLOAT")[:-4] + nothing, 960, r"the pipe: has NaN or infinite samples, the first at 0\.125 s"),
    ):
        pipe = io.BytesIO(content)
        _, form = read_wav_header(pipe)
        good: list[np.ndarray] = []
        with pytest.raises(DataError, match=message):
            good.extend(piped_blocks(pipe, form, 0.01, "the pipe"))
        assert sum(map(len, good)) == expected


def test_bare_samples_have_no_header():
    content = np.array([0, 16384, -32768], "<i2").tobytes()
    [block] = piped_blocks(io.BytesIO(content), PipedFormat(RATE), 1.0, "the pipe")
    assert block.tolist() == [0.0, 0.5, -1.0]
