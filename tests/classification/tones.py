"""A classifier and a corpus small enough for tests: each class is a tone, at 4 kHz."""

from dataclasses import replace

import numpy as np
import torch

from recitative.audio.files import write_wav
from recitative.classification.classifier import ClassifierSettings
from recitative.classification.task import new_classifier
from recitative.config import load_tree
from recitative.data.directory import DataDirectory, Utterance

RATE = 4000
TONES_HZ = {"high": 1400.0, "low": 250.0, "middle": 600.0}
TINY = [
    f"features.sample_rate={RATE}", "features.num_mel_bins=8", "features.frame_length_ms=10",
    "features.frame_shift_ms=5", "model.front_end.window=2", "model.front_end.stride=2", "model.recurrent.layers=1",
    "model.recurrent.hidden=8", "train.epochs=2", "train.batch_s=1.5", "train.warmup_steps=2", "train.workers=0",
    "train.threads=1", "train.device=cpu", "train.bf16=false",
]  # fmt: skip


def settings(*overrides):
    return load_tree(ClassifierSettings, None, [*TINY, *overrides])


def classifier(*overrides, seed=0, labels=tuple(TONES_HZ)):
    """In evaluation mode, with random weights."""
    torch.manual_seed(seed)
    made = new_classifier(settings(*overrides), labels)
    with torch.no_grad():
        made.network.stages["normalize"].mean.fill_(16.0)  # log energies at 16-bit scale; else every cell saturates
        made.network.stages["normalize"].inverse_stddev.fill_(0.3)
        made.network.stages["head"].linear.weight.mul_(5.0)
    made.network.eval()
    return made


def tone(label, seconds, rng):
    t = np.arange(round(seconds * RATE)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * TONES_HZ[label] * t + rng.uniform(0, 6)) + 0.01 * rng.standard_normal(len(t))
    return samples.astype(np.float32)


def write_corpus(folder, *, speakers=2, each=3, seed=0, labels=tuple(TONES_HZ)):
    """A data directory with so many recordings of each label by each speaker; returns its path."""
    rng = np.random.default_rng(seed)
    utterances = []
    for speaker in range(speakers):
        for label in labels:
            for number in range(each):
                utt_id = f"s{speaker}-{label}-{number}"
                path = folder / "wav" / f"{utt_id}.wav"
                write_wav(path, tone(label, rng.uniform(0.15, 0.3), rng), RATE)
                utterances.append(Utterance(utt_id, f"s{speaker}", str(path), text=label))
    DataDirectory(tuple(sorted(utterances))).write(folder / "data")
    return folder / "data"


def changed(data, utt_id, **values):
    """A data directory with another text, path ... of one utterance."""
    return DataDirectory(tuple(replace(u, **values) if u.utt_id == utt_id else u for u in data.utterances))
