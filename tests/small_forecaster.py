"""A forecaster and a corpus small enough for tests: usual is a low tone that comes and goes, at 4 kHz."""

import numpy as np
import torch

from recitative.anomaly.detector import AnomalySettings
from recitative.anomaly.task import new_anomaly_model
from recitative.audio.files import write_wav
from recitative.config import load_tree
from recitative.data.directory import DataDirectory, Utterance
from recitative.features.extraction import CmvnStats

RATE = 4000
CHANNELS = 8
TINY = [
    f"features.sample_rate={RATE}", f"features.num_mel_bins={CHANNELS}", "features.frame_length_ms=10",
    "features.frame_shift_ms=5", "model.recurrent.hidden=8", "model.components=2", "detection.window_s=0.1",
    "segment_s=0.5", "train.epochs=2", "train.batch_s=2", "train.warmup_steps=2", "train.workers=0", "train.threads=1",
    "train.device=cpu", "train.bf16=false",
]  # fmt: skip


def settings(*overrides):
    return load_tree(AnomalySettings, None, [*TINY, *overrides])


def forecaster(*overrides, seed=0):
    """In evaluation mode, with random weights that are large enough for every input to matter."""
    torch.manual_seed(seed)
    made = new_anomaly_model(settings(*overrides))
    mean, deviation = np.full(CHANNELS, 16.0), np.linspace(2.0, 4.0, CHANNELS)  # log energies at 16-bit scale
    made.normalize(CmvnStats(10 * mean, 10 * (mean**2 + deviation**2), 10.0))
    with torch.no_grad():
        for name, parameter in made.network.named_parameters():
            if "density" not in name:
                parameter.mul_(2.0)
    made.network.eval()
    return made


def features(shape, generator):
    return 16 + 3 * torch.randn(*shape, CHANNELS, generator=generator)


def hum(seconds, rng, tone_hz=300.0):
    """A tone that swells ten times a second, in a little noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    swell = 0.2 + 0.2 * np.sin(2 * np.pi * 10 * t + rng.uniform(0, 6))
    samples = swell * np.sin(2 * np.pi * tone_hz * t) + 0.01 * rng.standard_normal(len(t))
    return samples.astype(np.float32)


def write_corpus(folder, *, count=6, seed=0, seconds=0.8, tone_hz=300.0):
    """A data directory with so many recordings; returns its path."""
    rng = np.random.default_rng(seed)
    utterances = []
    for number in range(count):
        path = folder / "wav" / f"u{number}.wav"
        write_wav(path, hum(seconds, rng, tone_hz), RATE)
        utterances.append(Utterance(f"u{number}", f"u{number}", str(path)))
    DataDirectory(tuple(utterances)).write(folder / "data")
    return folder / "data"
