"""Recordings that a page plays: compressed, in the page itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.audio.resample import resample
from recitative.page.document import data_uri

LONGEST_SOUND_S = 60.0  # longer recordings would swell the page
SOUND_RATE = 16000  # Hz; MP3 knows few rates
_MP3_RATES = (8000, 16000)

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Recording:
    samples: Samples  # (S,)
    sample_rate: int  # Hz

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate


def player(recording: Recording, kind: str, encode: Callable[[Recording], bytes]) -> str:
    """An ``<audio>`` element with a file of the MIME type ``kind``; of a recording that is too long a note."""
    if recording.duration_s > LONGEST_SOUND_S:
        return f'<p class="note">No sound: {recording.duration_s:.0f} s are too long for this page.</p>'
    return f'<audio controls preload="none" src="{data_uri(kind, encode(recording))}"></audio>'


def encode_mp3(recording: Recording) -> bytes:
    """Small, and every browser plays it."""
    samples, sample_rate = recording.samples, recording.sample_rate
    if sample_rate not in _MP3_RATES:
        samples, sample_rate = resample(samples, sample_rate, SOUND_RATE), SOUND_RATE
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.3,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def encode_flac(recording: Recording) -> bytes:
    """The samples as they are, in 16 bits: for sounds whose faults are the point."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(recording.samples, -1, 1), recording.sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
