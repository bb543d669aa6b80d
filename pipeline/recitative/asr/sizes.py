"""Which model and which schedule suit a corpus and a machine: what the recipes found, as one table.

    recordings      network, each way   epochs          learnt from
    hours up to     offline / forward   wanted, fewest
    0.1             2x96  / 2x128       250    80
    0.3             2x160 / 2x192       200    60       recipes/digits (0.3 h, ten words; 30 and 50 epochs do for these)
    0.6             2x240 / 3x320       160    50
    2               3x320 / 3x512       130    40       recipes/an4 (0.6 h of 66 speakers: 125 and 145 epochs)
    5               3x320 / 3x512        90    25
    20              4x400 / 4x640        60    12
    100             4x512 / 4x800        40     8
    500             5x640 / 5x1024       25     5
    any             5x800 / 5x1280       15     3

The less speech, the smaller the network, the more often it is heard, and the more it is varied. A network is chosen as
large as the row allows if it can hear the corpus at least ``fewest`` times in the hours that there are; else a smaller
one. Rows above two hours follow the field's habits (more data, larger networks, fewer epochs), not our measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from recitative.asr.network import build_recogniser
from recitative.config import AugmentSettings, FeatureSettings, ModelSettings


@dataclass(frozen=True)
class Size:
    """A network; see the table above."""

    offline: tuple[int, int]  # layers, hidden width in each direction
    forward: tuple[int, int]  # layers, hidden width
    learning_rate: float  # the peak: 0.003 and 0.002 are those of the recipes, larger networks take smaller steps


SIZES = (
    Size((2, 96), (2, 128), 0.003),
    Size((2, 160), (2, 192), 0.003),
    Size((2, 240), (3, 320), 0.0025),
    Size((3, 320), (3, 512), 0.002),
    Size((4, 400), (4, 640), 0.0015),
    Size((4, 512), (4, 800), 0.0012),
    Size((5, 640), (5, 1024), 0.001),
    Size((5, 800), (5, 1280), 0.0008),
)


@dataclass(frozen=True)
class Row:
    """What suits a corpus of up to so many hours."""

    hours: float
    size: int  # the largest that is of use, in SIZES
    epochs: int  # wanted
    fewest: int  # epochs below which a smaller network is better
    dropout: float
    batch_s: float  # small corpora need the updates


ROWS = (
    Row(0.1, 0, 250, 80, 0.3, 10),
    Row(0.3, 1, 200, 60, 0.3, 15),
    Row(0.6, 2, 160, 50, 0.3, 15),
    Row(2.0, 3, 130, 40, 0.25, 30),  # AN4: 0.3 offline, 0.2 forward
    Row(5.0, 3, 90, 25, 0.25, 30),
    Row(20.0, 4, 60, 12, 0.2, 60),
    Row(100.0, 5, 40, 8, 0.15, 120),
    Row(500.0, 6, 25, 5, 0.1, 240),
    Row(math.inf, 7, 15, 3, 0.1, 240),
)

STRONG = AugmentSettings(
    speeds=(0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15), vtlp=(0.8, 1.25), volume_db=(-10.0, 6.0)
)  # recipes/digits: 19 voices
MIDDLE = AugmentSettings(
    speeds=(0.9, 0.95, 1.0, 1.05, 1.1), vtlp=(0.85, 1.2), volume_db=(-10.0, 6.0)
)  # recipes/an4: 66 voices
MILD = AugmentSettings(speeds=(0.9, 1.0, 1.1), vtlp=(0.9, 1.1), volume_db=(-10.0, 6.0))

FEWEST_EPOCHS = 5  # however little time there is
FEW_SPEAKERS, MANY_SPEAKERS = 30, 200
FEW_HOURS, MANY_HOURS = 0.5, 20.0
TOKENS = 40  # in an estimate of the output layer

# Measured on two cores of an AMD EPYC: steps of a bidirectional 3x320 LSTM of 6 M parameters take 130 s of audio a
# second, and the time grows with the parameters; recipes/digits, whose networks are small, is held up at 190 s a second
# by decoding, augmentation and features. More than eight cores were not measured and count as eight.
TRAINED_S_PER_CORE = 65.0
PREPARED_S_PER_CORE = 95.0
PARAMETERS = 6e6
MOST_CORES = 8
# Assumed, not measured: recurrent layers leave most of a GPU idle, and it waits for the cores that prepare audio.
TRAINED_S_PER_GPU = 1500.0


STRIDE = 3  # feature frames to a step of the network: 30 ms

SPARED = 0.01
"""So much of a corpus may have more letters than the network has steps: a check names it."""

STEPS = {  # (window, stride) in frames of features, the usual first
    True: ((STRIDE, STRIDE), (2, 2), (1, 1)),  # offline
    False: ((18, STRIDE), (12, STRIDE), (12, 2), (6, 2), (3, 2), (3, 1), (1, 1)),
}


@dataclass(frozen=True)
class Corpus:
    """What there is to learn from."""

    hours: float
    speakers: int
    sample_rate: int = 16000  # Hz
    longest_s: float = 0.0  # utterance
    lengths: tuple[tuple[int, int], ...] = ()  # (frames of features, letters and repeats) of utterances


@dataclass(frozen=True)
class Hardware:
    """What there is to train on; gpu_gb is the memory of the GPU, 0 without one."""

    cores: int
    gpu_gb: float = 0.0


def row_of(corpus: Corpus) -> Row:
    return next(row for row in ROWS if corpus.hours <= row.hours)


def default_hours(corpus: Corpus, hardware: Hardware) -> float:
    """An hour for up to ten of speech, then a tenth of it; with a GPU half an hour for up to 25, then a fiftieth."""
    return max(0.5, corpus.hours / 50) if hardware.gpu_gb else max(1.0, corpus.hours / 10)


def audio_per_second(parameters: int, hardware: Hardware) -> float:
    """Seconds of audio that training takes in a second; see the constants above."""
    if hardware.gpu_gb:
        return min(TRAINED_S_PER_GPU * PARAMETERS / parameters, PREPARED_S_PER_CORE * max(1, hardware.cores - 1))
    cores = min(hardware.cores, MOST_CORES)
    return cores * min(TRAINED_S_PER_CORE * PARAMETERS / parameters, PREPARED_S_PER_CORE)


def num_parameters(model: ModelSettings, features: FeatureSettings, tokens: int = TOKENS) -> int:
    """Weights of the network that these settings describe; it is built without memory."""
    with torch.device("meta"):
        network = build_recogniser(model, features.dim, tokens)
    return sum(weight.numel() for weight in network.parameters())


def memory_gb(parameters: int, model: ModelSettings, batch_s: float) -> float:
    """About what training takes: weights, gradients and two moments; and seven numbers a cell, frame and direction."""
    core = model.recurrent
    cells = core.layers * core.hidden * (2 if core.direction == "bidirectional" else 1)
    frames = batch_s * 100 / model.front_end.core_stride
    return (16 * parameters + 7 * 4 * cells * frames) / 1e9
