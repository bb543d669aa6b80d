"""Fbank and MFCC from samples, in one call or in a stream, by ``kaldi-native-fbank`` (Kaldi's C++ code)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.config import FeatureSettings
from recitative.errors import UsageError
from recitative.features.computer import computer_of
from recitative.features.deltas import Deltas, pad_rows
from recitative.stage import Padded, State

Array = npt.NDArray[Any]

SAMPLE_SCALE = 32768.0  # Kaldi's features belong to 16-bit integer samples


class FeatureExtractor:
    """Stage: samples (N, S) float32 in [-1, 1] -> features (N, T, C) float32, C = settings.dim.

    Frame j is computed from samples j H to j H + W - 1 and from no others (``snip_edges``): the window W and the hop H
    are the frame length and shift in samples, rounded down. Povey window, mean of the window removed, pre-emphasis
    0.97 within the window, no dither, power spectrum, natural logarithm floored at float32's epsilon, or higher at
    ``log_floor``: digital silence, 30 below any real one, would else be most of what a network hears; no energy
    channel (``use_energy=false``, as in the mfcc.conf of Kaldi's recipes), cepstral lifter 22. So every frame is the
    same however the audio is cut. Fewer than W samples give no frame.

    State: ``samples`` (N, W - 1) float32, the samples still needed, and ``sample_counts`` (N,) int64, how many; with
    deltas also the state of ``Deltas``. After ``last`` the state is the initial one.

    Follows kaldi/src/feat/{feature-window,feature-fbank,feature-mfcc}.cc and featbin/compute-deltas.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        """Raises UsageError if frames would leave samples between them unheard."""
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
        """In samples: the rest of the window, and the frames that the deltas wait for."""
        return self.window_samples - 1 + self._deltas.lookahead * self.hop_samples

    def initial_state(self, n: int) -> State:
        state: State = {
            "samples": np.zeros((n, self.window_samples - 1), np.float32),
            "sample_counts": np.zeros(n, np.int64),
        }
        return state | (self._deltas.initial_state(n) if self._deltas.order else {})

    def output_lengths(self, lengths: Array) -> Array:
        """Frames of recordings with these numbers of samples (N,) -> (N,)."""
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
        """(S,) -> (T, C) without deltas: every frame that fits."""
        frames = computer_of(self.settings).frames(samples * np.float32(SAMPLE_SCALE))
        return frames if self.settings.kind == "mfcc" else np.maximum(frames, np.float32(self.settings.log_floor))
