"""Numbers of frames of audio."""

from __future__ import annotations

from recitative.config import FeatureSettings, FrontEndSettings


def num_frames(num_samples: int, settings: FeatureSettings) -> int:
    """Frames of features, 1 + (S - window) // shift or 0: snip_edges in kaldi/src/feat/feature-window.cc."""
    return max(0, 1 + (num_samples - settings.window_samples) // settings.hop_samples)


def num_output_frames(frames: int, front_end: FrontEndSettings) -> int:
    """Output frames of a network: ``outputs_per_step`` for each step of the recurrent core.

    The core takes a step for each whole window when stacking, for one frame in ``stride`` of each convolution.
    """
    if front_end.kind == "stack":
        frames = max(0, 1 + (frames - front_end.window) // front_end.stride)
    else:
        for stride in front_end.conv_strides:
            frames = (frames + stride - 1) // stride
    return frames * front_end.outputs_per_step


def least_samples(settings: FeatureSettings, front_end: FrontEndSettings) -> int:
    """Samples of the shortest recording with one frame at the recurrent core."""
    frames = 1
    while not num_output_frames(frames, front_end):
        frames += 1
    return settings.window_samples + (frames - 1) * settings.hop_samples


def subsampled_by(factor: int) -> FrontEndSettings:
    """The simplest front end that keeps one of ``factor`` frames."""
    return FrontEndSettings(kind="stack", window=factor, stride=factor)
