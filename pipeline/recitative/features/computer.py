"""Kaldi's C++ code for fbank and MFCC as a function: samples in, frames out, nothing remembered.

The C++ object is an online one: it keeps the end of what it heard for the next frame. To make one costs as much as ten
frames, so it is made once for each thread and setting, and what it kept is pushed out: zeros fill it up to the next
frame's start, and the frames that begin before the new samples are left out. Each frame is computed from its own window
alone, so the others do not notice.
"""

from __future__ import annotations

import threading
from array import array
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings

Array = npt.NDArray[Any]

BLOCK_FRAMES = 100  # frames given to the C++ code at once: it copies the samples, and many fall out of cache
OLDEST_FRAME = 2**30  # its frame numbers are 32-bit


class KaldiComputer:
    """For one thread."""

    def __init__(self, settings: FeatureSettings) -> None:
        self._sample_rate = settings.sample_rate
        self._window = settings.window_samples
        self._hop = settings.hop_samples
        self._dim = settings.dim // (1 + settings.delta_order)
        self._online = _online(settings)
        self._kept = 0  # samples that it still has
        self._next = 0  # the number that its next frame will have

    @property
    def is_worn_out(self) -> bool:
        return self._next >= OLDEST_FRAME

    def frames(self, samples: Array) -> Array:
        """(S,) float32 at 16-bit scale -> every frame that fits, (T, C) float32."""
        if len(samples) < self._window:
            return np.zeros((0, self._dim), np.float32)
        zeros = -self._kept % self._hop
        stale = (self._kept + zeros) // self._hop
        block = BLOCK_FRAMES * self._hop
        if zeros:
            self._online.accept_waveform(self._sample_rate, [0.0] * zeros)
        for start in range(0, len(samples), block):
            # Not NumPy's array: the binding takes one float object after another, and NumPy's own are slow to make.
            floats = array("f", np.asarray(samples[start : start + block], np.float32).tobytes())
            self._online.accept_waveform(self._sample_rate, floats)
        end = self._online.num_frames_ready
        # Copied here: what get_frame returns is the C++ code's own memory, which pop gives back.
        frames = np.concatenate([self._online.get_frame(number) for number in range(self._next + stale, end)])
        self._online.pop(end - self._next)
        self._kept += zeros + len(samples) - (end - self._next) * self._hop
        self._next = end
        return frames.reshape(-1, self._dim)


_computers = threading.local()


def computer_of(settings: FeatureSettings) -> KaldiComputer:
    """This thread's own for these settings."""
    made: dict[FeatureSettings, KaldiComputer] = _computers.__dict__.setdefault("made", {})
    computer = made.get(settings)
    if computer is None or computer.is_worn_out:
        computer = made[settings] = KaldiComputer(settings)
    return computer


def _online(settings: FeatureSettings) -> Any:
    options = knf.FbankOptions() if settings.kind == "fbank" else knf.MfccOptions()
    options.frame_opts.samp_freq = settings.sample_rate
    options.frame_opts.frame_length_ms = settings.frame_length_ms
    options.frame_opts.frame_shift_ms = settings.frame_shift_ms
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = settings.num_mel_bins
    options.mel_opts.low_freq = settings.low_freq_hz
    options.mel_opts.high_freq = settings.high_freq_hz
    options.use_energy = False
    if settings.kind == "fbank":
        return knf.OnlineFbank(options)
    options.num_ceps = settings.num_ceps
    return knf.OnlineMfcc(options)
