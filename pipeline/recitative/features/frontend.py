"""Fbank and MFCC features with deltas, of whole recordings or streams, by ``kaldi-native-fbank`` (Kaldi's C++ code)."""

from __future__ import annotations

import threading
from array import array
from typing import Any

import kaldi_native_fbank as knf
import numpy as np

from recitative.config import FeatureSettings
from recitative.errors import UsageError
from recitative.stage import Array, Padded, State

WINDOW = 2  # frames on each side of one difference; Kaldi's default


def delta_scales(order: int) -> tuple[Array, ...]:
    """Weights of orders 0 to ``order``, as in Kaldi: each is the previous one convolved with a slope.

        scales[0] = [1],   scales[i] = scales[i-1] * [-2 -1 0 1 2] / 10        (* is convolution)

    Order i has 4 i + 1 weights, centered on its frame. Float32.
    """
    slope = np.arange(-WINDOW, WINDOW + 1) / sum(j * j for j in range(-WINDOW, WINDOW + 1))
    scales = [np.ones(1)]
    for _ in range(order):
        scales.append(np.convolve(scales[-1], slope))
    return tuple(scale.astype(np.float32) for scale in scales)


class Deltas:
    """Stage: frames (N, T, C) -> (N, T, C (1 + order)): the frames, their deltas, their delta-deltas.

    Kaldi's ``compute-deltas`` (feat/feature-functions.cc, DeltaFeatures). Beyond the first and last frame of an
    utterance the edge frame is repeated. Delta-deltas are one weighted sum over nine frames, not deltas of deltas,
    which differ in the four frames at either end.

    State: ``frames`` (N, 2 K, C) float32, the frames still needed, K = 2 order; ``frame_counts`` (N,) int64, the number
    of valid ones, 0 before the first frame.
    """

    stride = 1

    def __init__(self, dim: int, order: int) -> None:
        """dim: input channels; order: >= 0."""
        self.dim = dim
        self.order = order
        self._scales = delta_scales(order)

    @property
    def lookahead(self) -> int:
        """In frames."""
        return WINDOW * self.order

    def initial_state(self, n: int) -> State:
        return {
            "frames": np.zeros((n, 2 * self.lookahead, self.dim), np.float32),
            "frame_counts": np.zeros(n, np.int64),
        }

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        new_state = self.initial_state(len(x.lengths))
        outputs: list[Array] = []
        for row, length in enumerate(x.lengths):
            held = state["frames"][row, : state["frame_counts"][row]]
            frames = self._extend(held, x.data[row, :length], last=last)
            outputs.append(self._differences(frames))
            if not last:
                kept = frames[-2 * self.lookahead :] if self.lookahead else frames[:0]
                new_state["frames"][row, : len(kept)] = kept
                new_state["frame_counts"][row] = len(kept)
        return pad_rows(outputs, self.dim * (1 + self.order)), new_state

    def _extend(self, held: Array, new: Array, *, last: bool) -> Array:
        """Held and new frames, padded with the edge frame before the first and (if ``last``) after the last."""
        frames = np.concatenate([held, new])
        if not len(frames):
            return frames
        before = self.lookahead if not len(held) else 0
        after = self.lookahead if last else 0
        return np.pad(frames, ((before, after), (0, 0)), mode="edge")

    def _differences(self, frames: Array) -> Array:
        """(K + T + K, C) -> (T, C (1 + order))"""
        edge = self.lookahead
        count = max(len(frames) - 2 * edge, 0)
        columns = []
        for scale in self._scales:
            first = edge - len(scale) // 2
            total = np.zeros((count, self.dim), np.float32)
            for offset, weight in enumerate(scale, start=first):
                total += weight * frames[offset : offset + count]
            columns.append(total)
        return np.concatenate(columns, axis=1)


def pad_rows(rows: list[Array], channels: int) -> Padded[Array]:
    """N arrays (T_n, C) -> one batch (N, T, C) float32, padded with zeros."""
    lengths = np.array([len(row) for row in rows], np.int64)
    if len(rows) == 1:
        return Padded(np.asarray(rows[0], np.float32)[np.newaxis], lengths)
    data = np.zeros((len(rows), int(lengths.max(initial=0)), channels), np.float32)
    for padded, row in zip(data, rows, strict=True):
        padded[: len(row)] = row
    return Padded(data, lengths)


BLOCK_FRAMES = (
    100  # frames passed to the C++ code at once: it copies the samples, and more would not fit into the cache
)
OLDEST_FRAME = 2**30  # its frame numbers are 32-bit


class KaldiComputer:
    """Kaldi's C++ fbank and MFCC as a function: samples in, frames out. For one thread.

    The C++ object is an online extractor: it keeps the last samples for the next frame. Creating one costs as much as
    ten frames, so it is created once for each thread and setting, and old samples are flushed: zeros fill up to the
    start of the next frame, and frames that begin before the new samples are dropped. Each frame depends only on its
    own window, so the others are not affected.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self._sample_rate = settings.sample_rate
        self._window = settings.window_samples
        self._hop = settings.hop_samples
        self._dim = settings.dim // (1 + settings.delta_order)
        self._online = _online(settings)
        self._kept = 0  # samples in its buffer
        self._next = 0  # number of its next frame

    @property
    def is_worn_out(self) -> bool:
        return self._next >= OLDEST_FRAME

    def frames(self, samples: Array) -> Array:
        """(S,) float32 at 16-bit scale -> all complete frames (T, C) float32."""
        if len(samples) < self._window:
            return np.zeros((0, self._dim), np.float32)
        zeros = -self._kept % self._hop
        stale = (self._kept + zeros) // self._hop
        block = BLOCK_FRAMES * self._hop
        if zeros:
            self._online.accept_waveform(self._sample_rate, [0.0] * zeros)
        for start in range(0, len(samples), block):
            # Not a NumPy array: the binding converts single float objects, which are slow to create from NumPy.
            floats = array("f", np.asarray(samples[start : start + block], np.float32).tobytes())
            self._online.accept_waveform(self._sample_rate, floats)
        end = self._online.num_frames_ready
        # A copy: get_frame returns memory of the C++ object, which pop frees.
        frames = np.concatenate([self._online.get_frame(number) for number in range(self._next + stale, end)])
        self._online.pop(end - self._next)
        self._kept += zeros + len(samples) - (end - self._next) * self._hop
        self._next = end
        return frames.reshape(-1, self._dim)


_computers = threading.local()


def computer_of(settings: FeatureSettings) -> KaldiComputer:
    """The extractor of this thread for these settings."""
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


SAMPLE_SCALE = 32768.0  # Kaldi's features are defined for 16-bit integer samples


class FeatureExtractor:
    """Stage: samples (N, S) float32 in [-1, 1] -> features (N, T, C) float32, C = settings.dim.

    Frame j depends only on samples j H to j H + W - 1 (``snip_edges``): the window W and the hop H are the frame length
    and shift in samples, rounded down. Povey window, mean of the window removed, pre-emphasis 0.97 within the window,
    no dither, power spectrum, natural logarithm floored at float32's epsilon, or higher at ``log_floor`` (digital
    silence, 30 below any real one, would otherwise dominate the input of a network), no energy channel
    (``use_energy=false``, as in the mfcc.conf of Kaldi's recipes), cepstral lifter 22. So frames do not depend on how
    the audio is cut. Fewer than W samples give no frame.

    State: ``samples`` (N, W - 1) float32, the samples still needed, and ``sample_counts`` (N,) int64, how many; with
    deltas also the state of ``Deltas``. After ``last`` the state is the initial one.

    Follows kaldi/src/feat/{feature-window,feature-fbank,feature-mfcc}.cc and featbin/compute-deltas.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        """Raises UsageError if there would be samples between the frames."""
        self.settings = settings
        self.window_samples = settings.window_samples
        self.hop_samples = settings.hop_samples
        if not 1 <= self.hop_samples <= self.window_samples:
            raise UsageError(
                f"features.frame_shift_ms={settings.frame_shift_ms:g}: must be at least one sample and at most "
                f"frame_length_ms={settings.frame_length_ms:g}; choose a shorter shift"
            )
        self._static_dim = settings.dim // (1 + settings.delta_order)
        self._deltas = Deltas(self._static_dim, settings.delta_order)

    @property
    def dim(self) -> int:
        """Channels of a frame."""
        return self.settings.dim

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return self.hop_samples

    @property
    def lookahead(self) -> int:
        """In samples: the rest of the window and the look-ahead of the deltas."""
        return self.window_samples - 1 + self._deltas.lookahead * self.hop_samples

    def initial_state(self, n: int) -> State:
        state: State = {
            "samples": np.zeros((n, self.window_samples - 1), np.float32),
            "sample_counts": np.zeros(n, np.int64),
        }
        return state | (self._deltas.initial_state(n) if self._deltas.order else {})

    def output_lengths(self, lengths: Array) -> Array:
        """Numbers of samples (N,) -> numbers of frames (N,)."""
        whole = (np.asarray(lengths) - self.window_samples) // self.hop_samples + 1
        frames: Array = np.maximum(whole, 0)
        return frames

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        new_state = self.initial_state(len(x.lengths))
        rows: list[Array] = []
        for row, length in enumerate(x.lengths):
            held = state["samples"][row, : state["sample_counts"][row]]
            samples = np.concatenate([held, x.data[row, :length]], dtype=np.float32)
            rows.append(self._static(samples))
            if not last:
                kept = samples[len(rows[-1]) * self.hop_samples :]
                new_state["samples"][row, : len(kept)] = kept
                new_state["sample_counts"][row] = len(kept)
        features = pad_rows(rows, self._static_dim)
        if not self._deltas.order:
            return features, new_state
        features, delta_state = self._deltas.step(features, state, last=last)
        return features, new_state | delta_state

    def compute(self, samples: Array) -> Array:
        """Features of one whole recording: samples (S,) float32 in [-1, 1] -> (T, C) float32."""
        x = Padded(samples[np.newaxis], np.array([len(samples)], np.int64))
        features, _ = self.step(x, self.initial_state(1), last=True)
        frames: Array = features.data[0]
        return frames

    def _static(self, samples: Array) -> Array:
        """(S,) -> (T, C) without deltas: all complete frames."""
        frames = computer_of(self.settings).frames(samples * np.float32(SAMPLE_SCALE))
        return frames if self.settings.kind == "mfcc" else np.maximum(frames, np.float32(self.settings.log_floor))
