"""A WAV file that is written while it is made, such as into a pipe: 16-bit mono, its length left open."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

OPEN = 0xFFFFFFFF  # players read on to the end of the stream
BYTES = 2


def wav_header(sample_rate: int) -> bytes:
    """RIFF, fmt and the beginning of the data; sample_rate in Hz."""
    form = struct.pack("<HHIIHH", 1, 1, sample_rate, BYTES * sample_rate, BYTES, 8 * BYTES)
    length = struct.pack("<I", OPEN)
    return b"RIFF" + length + b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + length


def wav_samples(samples: npt.NDArray[np.floating]) -> bytes:
    """(S,) in [-1, 1], what lies beyond is clipped."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()
