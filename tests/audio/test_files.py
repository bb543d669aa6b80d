"""Reading recordings: what is whole comes back sample for sample, what is not is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from recitative.audio.files import inspect, open_blocks, read_audio, read_mixed, write_wav
from recitative.errors import DataError
from small_corpus import noise, write_audio

FIELD_CASES = Path(__file__).parents[1] / "field_cases"

ENCODINGS = {
    "a.wav": {"subtype": "PCM_16"},
    "a.flac": {"subtype": "PCM_16"},
    "opus.ogg": {"format": "OGG", "subtype": "OPUS"},
    "vorbis.ogg": {"format": "OGG", "subtype": "VORBIS"},
}


def encode(folder: Path, name: str, samples: np.ndarray) -> Path:
    path = folder / name
    soundfile.write(path, samples, 16000, **ENCODINGS[name])
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_lossless_16_bit_audio_comes_back_exactly(tmp_path: Path, name: str) -> None:
    integers = np.array([0, 1, -1, 32767, -32768, 1234], np.int16)
    soundfile.write(tmp_path / name, integers, 16000, subtype="PCM_16")
    samples, rate = read_audio(tmp_path / name)
    assert rate == 16000
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples * 32768, integers.astype(np.float32))


def test_8_bit_audio_is_fine(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", noise(), subtype="PCM_U8")
    samples, _ = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(samples, noise(), atol=1 / 128)  # one step of 8 bits


@pytest.mark.parametrize("name", ENCODINGS)
def test_inspect_knows_the_length_of_every_format(tmp_path: Path, name: str) -> None:
    info = inspect(encode(tmp_path, name, noise(1.0)))
    assert (info.sample_rate, info.channels, info.num_samples) == (16000, 1, 16000)
    assert info.duration_s == 1.0


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_segment_is_the_slice_of_the_whole(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path, name, noise(1.0))
    whole, _ = read_audio(path)
    part, _ = read_audio(path, start_s=0.25, end_s=0.75)
    np.testing.assert_array_equal(part, whole[4000:12000])


def test_an_end_a_few_milliseconds_beyond_the_recording_is_rounding(tmp_path: Path) -> None:
    path = encode(tmp_path, "a.wav", noise(0.496))
    samples, _ = read_audio(path, start_s=0.1, end_s=0.5)
    assert len(samples) == round(0.396 * 16000)


@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [
        (0.0, 1.52, "1.52 s is beyond its end; at most 1.000 s"),
        (0.5, 0.5, "holds no samples; 0 <= start < end"),
        (0.6, 0.5, "holds no samples; 0 <= start < end"),
        (-0.1, 0.5, "holds no samples; 0 <= start < end"),
        (2.0, None, "holds no samples"),
    ],
)
def test_times_outside_the_recording_are_errors(
    tmp_path: Path, start_s: float, end_s: float | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_audio(encode(tmp_path, "a.wav", noise(1.0)), start_s=start_s, end_s=end_s)


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("I am a transcript\n" * 50)
    (folder / "folder.wav").mkdir()
    write_audio(folder / "none.wav", np.zeros(0, np.float32))
    write_audio(folder / "stereo.wav", np.stack([noise(), noise()], axis=1))
    with_nan = noise()
    with_nan[1600] = np.nan
    write_audio(folder / "nan.wav", with_nan, subtype="FLOAT")
    return {
        "missing": (folder / "missing.wav", "does not exist; a recording; correct the path"),
        "empty": (folder / "empty.wav", r"is empty \(0 bytes\)"),
        "text": (folder / "text.wav", "is not audio that can be read; wav, flac, ogg or mp3"),
        "folder": (folder / "folder.wav", "is a folder"),
        "none": (folder / "none.wav", "has no samples; at least one"),
        "stereo": (folder / "stereo.wav", "has 2 channels; one; mix it down"),
        "nan": (folder / "nan.wav", "has NaN or infinite samples, the first at 0.100 s"),
    }


@pytest.mark.parametrize("name", ["missing", "empty", "text", "folder", "none", "stereo", "nan"])
def test_a_file_that_is_no_recording_of_one_channel_is_named(tmp_path: Path, name: str) -> None:
    path, message = broken_files(tmp_path)[name]
    with pytest.raises(DataError, match=message) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_written_samples_are_read_back_to_half_a_step_of_16_bits(tmp_path: Path) -> None:
    write_wav(tmp_path / "new" / "a.wav", noise(), 16000)
    samples, rate = read_audio(tmp_path / "new" / "a.wav")
    assert rate == 16000
    np.testing.assert_allclose(samples, noise(), atol=0.5 / 32768 + 1e-7)


@pytest.mark.parametrize("bad", [1.5, -1.01, np.nan, np.inf])
def test_samples_that_would_clip_are_not_written(tmp_path: Path, bad: float) -> None:
    with pytest.raises(DataError, match="samples reach"):
        write_wav(tmp_path / "a.wav", np.array([0.0, bad]), 16000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "num_samples"), [("26_common_voice_1.mp3", 157824), ("26_common_voice_2.mp3", 92160)])
def test_an_mp3_whose_header_counts_the_encoders_padding_is_whole(name: str, num_samples: int) -> None:
    path = FIELD_CASES / name
    samples, rate = read_audio(path)
    assert (len(samples), rate) == (num_samples, 32000)
    with open_blocks(path, 1.0) as (_, blocks):
        np.testing.assert_allclose(np.concatenate(list(blocks)), samples, atol=1e-6)


def test_channels_are_averaged_unless_they_cancel_each_other(tmp_path: Path) -> None:
    path, left, warnings = tmp_path / "a.wav", noise(2.0), []
    write_audio(path, np.stack([left, left / 2], axis=1), 16000)
    samples, rate = read_mixed(path, on_warning=warnings.append)
    np.testing.assert_allclose(samples, 0.75 * left, atol=1e-4)
    assert (rate, warnings) == (16000, [])
    write_audio(path, np.stack([left, -left], axis=1), 16000)
    with path.open("rb") as file:
        for audio in (path, path.read_bytes(), file):
            np.testing.assert_allclose(read_mixed(audio, on_warning=warnings.append)[0], left, atol=1e-4)
    assert warnings == ["the channels cancel each other: one of them is inverted, or nearly; the left one is taken"] * 3
    with pytest.raises(DataError, match=r"a\.wav: lasts 2 s; at most 1 s; cut it"):
        read_mixed(path, longest_s=1.0)
