"""Presets: model size and schedule for a corpus and a machine, with the reason for each choice.

    recordings      network, each way   epochs          learned from
    hours up to     offline / forward   best, fewest
    0.1             2x96  / 2x128       250    80
    0.3             2x160 / 2x192       200    60       recipes/digits (0.3 h, ten words; 30 and 50 epochs do for these)
    0.6             2x240 / 3x320       160    50
    2               3x320 / 3x512       130    40       recipes/an4 (0.6 h of 66 speakers: 125 and 145 epochs)
    5               3x320 / 3x512        90    25
    20              4x400 / 4x640        60    12
    100             4x512 / 4x800        40     8
    500             5x640 / 5x1024       25     5
    any             5x800 / 5x1280       15     3

With less speech the network is smaller, trained for more epochs, and with more augmentation. The largest network of
the row is chosen if the time allows at least ``fewest`` epochs; otherwise a smaller one. Rows up to two hours are
measured by the recipes; larger ones follow common practice (more data, larger networks, fewer epochs).
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recitative.asr.network import build_recognizer, new_recognizer
from recitative.config import (
    AugmentSettings,
    FeatureSettings,
    FrontEndSettings,
    ModelSettings,
    RecurrentSettings,
    Settings,
    SpecAugmentSettings,
    TrainSettings,
)
from recitative.errors import RunError, counted
from recitative.nn.heads import ctc_loss
from recitative.stage import Array, Padded
from recitative.text.tokens import TokenTable
from recitative.train.checkpoint import new_optimizer
from recitative.train.distributed import has_bf16
from recitative.train.loop import ran_out_of_memory


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
    """Preset for a corpus of up to so many hours."""

    hours: float
    size: int  # index of the largest useful network in SIZES
    epochs: int  # best
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

SPARED = 0.01  # maximum fraction of utterances with more letters than steps; 'recitative check' reports these

STEPS = {  # (window, stride) in frames of features, the usual first
    True: ((STRIDE, STRIDE), (2, 2), (1, 1)),  # offline
    False: ((18, STRIDE), (12, STRIDE), (12, 2), (6, 2), (3, 2), (3, 1), (1, 1)),
}


@dataclass(frozen=True)
class Corpus:
    """The training data."""

    hours: float
    speakers: int
    sample_rate: int = 16000  # Hz
    longest_s: float = 0.0  # utterance
    lengths: tuple[tuple[int, int], ...] = ()  # (frames of features, letters and repeats) of utterances


@dataclass(frozen=True)
class Hardware:
    """The machine; gpu_gb is the memory of the GPU, 0 without one."""

    cores: int
    gpu_gb: float = 0.0


def row_of(corpus: Corpus) -> Row:
    return next(row for row in ROWS if corpus.hours <= row.hours)


def default_hours(corpus: Corpus, hardware: Hardware) -> float:
    """A tenth of the corpus, at least one hour; with a GPU a fiftieth, at least half an hour."""
    return max(0.5, corpus.hours / 50) if hardware.gpu_gb else max(1.0, corpus.hours / 10)


def audio_per_second(parameters: int, hardware: Hardware) -> float:
    """Speed of training in seconds of audio per second; see the constants above."""
    if hardware.gpu_gb:
        return min(TRAINED_S_PER_GPU * PARAMETERS / parameters, PREPARED_S_PER_CORE * max(1, hardware.cores - 1))
    cores = min(hardware.cores, MOST_CORES)
    return cores * min(TRAINED_S_PER_CORE * PARAMETERS / parameters, PREPARED_S_PER_CORE)


def num_parameters(model: ModelSettings, features: FeatureSettings, tokens: int = TOKENS) -> int:
    """The number of weights of a network, which is built without memory."""
    with torch.device("meta"):
        network = build_recognizer(model, features.dim, tokens)
    return sum(weight.numel() for weight in network.parameters())


def memory_gb(parameters: int, model: ModelSettings, batch_s: float) -> float:
    """Estimate for training: weights, gradients and two moments; and seven numbers per cell, frame and direction."""
    core = model.recurrent
    cells = core.layers * core.hidden * (2 if core.direction == "bidirectional" else 1)
    frames = batch_s * 100 / model.front_end.core_stride
    return (16 * parameters + 7 * 4 * cells * frames) / 1e9


LONGEST_S = 60.0  # of utterances: a recurrent network learns little from longer ones, and memory grows with them


@dataclass(frozen=True)
class Choice:
    """One setting, or a few that belong together, and why."""

    what: str
    value: str
    reason: str


@dataclass(frozen=True)
class Suggestion:
    settings: Settings
    choices: tuple[Choice, ...]
    parameters: int
    train_hours: float  # expected
    warnings: tuple[str, ...]


def suggest(corpus: Corpus, hardware: Hardware, *, offline: bool = False, hours: float | None = None) -> Suggestion:
    """Settings for training in about ``hours``; None: as long as a corpus of this size is worth (``default_hours``)."""
    row = row_of(corpus)
    hours = hours or default_hours(corpus, hardware)
    # Few filters do not show a voice's harmonics, which few speakers would teach.
    num_filters = 40 if corpus.hours <= MANY_HOURS else 80
    features = FeatureSettings(sample_rate=corpus.sample_rate, num_mel_bins=num_filters)
    models = [_model(size, corpus, row, offline) for size in range(row.size + 1)]
    weights = [num_parameters(model, features) for model in models]
    epochs_in_time = [_epochs(corpus, hardware, parameters, hours, offline) for parameters in weights]
    # The largest network with enough epochs; if there is none, the largest of the fastest.
    enough = [size for size, epochs in enumerate(epochs_in_time) if epochs >= row.fewest]
    size = max(enough or [size for size, epochs in enumerate(epochs_in_time) if epochs == max(epochs_in_time)])
    parameters, possible = weights[size], epochs_in_time[size]
    epochs = max(FEWEST_EPOCHS, min(row.epochs, int(possible)))
    masks = SpecAugmentSettings(  # as wide as in recipes/an4, a third of the filters
        freq_masks=2,
        freq_width=num_filters // 3,
        time_masks=2,
        time_width=40 if offline else 20,  # with less context, wide masks hide whole letters
    )
    settings = Settings(
        features=features,
        augment=_augmentation(corpus).model_copy(update={"spec_augment": masks}),
        model=models[size],
        train=_train(corpus, hardware, row, SIZES[size], epochs, models[size]),
    )
    takes = hours * epochs / possible
    return Suggestion(
        settings=settings,
        choices=tuple(_choices(corpus, hardware, row, settings, parameters, offline)),
        parameters=parameters,
        train_hours=takes,
        warnings=tuple(_warnings(corpus, row, epochs, hours, takes, offline)),
    )


def _epochs(corpus: Corpus, hardware: Hardware, parameters: int, hours: float, offline: bool) -> float:
    """Epochs of training in so many hours."""
    speed = audio_per_second(parameters, hardware) * _steps(corpus, offline)[1] / STRIDE
    return hours * speed / max(corpus.hours, 1e-6)


def _choices(
    corpus: Corpus, hardware: Hardware, row: Row, settings: Settings, parameters: int, offline: bool
) -> list[Choice]:
    core, train, augment = settings.model.recurrent, settings.train, settings.augment
    hours = _hours(corpus)
    front_end, frame_shift_ms = settings.model.front_end, settings.features.frame_shift_ms
    kind = "bidirectional, hears whole recordings"
    if not offline:
        kind = f"forward, streams with {front_end.window * frame_shift_ms + 15:g} ms of look-ahead"
    largest = SIZES[row.size].offline if offline else SIZES[row.size].forward
    cut = "" if (core.layers, core.hidden) == largest else f", {largest[0]} x {largest[1]} with more time"
    step = "as in the recipes; every letter has a step of its own"
    if _steps(corpus, offline) != STEPS[offline][0]:
        step = "short and quick utterances: with longer steps they would have more letters than steps"
    adaptation = f"{corpus.speakers} speakers show enough voices and microphones"
    if corpus.speakers < FEW_SPEAKERS:
        adaptation = f"few speakers ({corpus.speakers}): each recording's own mean is taken away"
    voices = f"{counted(corpus.speakers, 'speaker')}, {hours}: the fewer, the more"
    more = f"; up to {row.epochs} with more time" if train.epochs < row.epochs else ""
    machine = f"a GPU of {hardware.gpu_gb:.0f} GB" if hardware.gpu_gb else counted(hardware.cores, "core")
    return [
        Choice("network", f"{core.layers} x {core.hidden} LSTM", kind),
        Choice("parameters", f"{parameters / 1e6:.1f} M", f"as suits {hours} of speech{cut}"),
        Choice("frame step", f"{front_end.core_stride * frame_shift_ms:g} ms", step),
        Choice("dropout", f"{core.dropout:g}", "the less speech, the more"),
        Choice("adaptation", settings.model.cmvn, adaptation),
        Choice("filters", f"{settings.features.num_mel_bins}", f"few, up to {MANY_HOURS:g} h: they hide harmonics"),
        Choice("speeds", f"{augment.speeds[0]:g} to {augment.speeds[-1]:g}", voices),
        Choice("vocal tracts", f"{augment.vtlp[0]:g} to {augment.vtlp[1]:g}", "the same"),
        Choice("batch", f"{train.batch_s:g} s", "small corpora need the updates"),
        Choice("learning rate", f"{train.learning_rate:g}", "the larger the network, the smaller"),
        Choice("epochs", f"{train.epochs}", f"the less speech, the more{more}"),
        Choice("processes", f"{train.workers}", f"prepare audio beside the network; {machine}"),
    ]  # fmt: skip


def _hours(corpus: Corpus) -> str:
    return f"{corpus.hours:.1f} h" if corpus.hours >= 1 else counted(f"{corpus.hours * 60:.0f}", "minute")


def _warnings(corpus: Corpus, row: Row, epochs: int, hours: float, takes: float, offline: bool) -> list[str]:
    warnings = []
    if epochs < row.fewest:
        needed = math.ceil(100 * takes * row.fewest / epochs) / 100
        advice = f"--hours {needed:g} gives {row.fewest}"
        warnings.append(f"{epochs} epochs are few for {_hours(corpus)} of speech; {advice}")
    impossible = _impossible(corpus, *_steps(corpus, offline))
    if impossible > SPARED * len(corpus.lengths):
        warnings.append(
            f"{impossible} of {len(corpus.lengths)} utterances have more letters than any network has steps; try "
            "'recitative tokens --unit word' or --unit piece"
        )
    if takes > hours * 1.05:
        warnings.append(f"training takes longer than the {hours:g} h asked for: {FEWEST_EPOCHS} epochs at least")
    if corpus.hours < ROWS[0].hours:
        warnings.append("with so little speech only words and voices that it was trained on will be recognized")
    if corpus.longest_s > LONGEST_S:
        warnings.append(f"an utterance lasts {corpus.longest_s:.0f} s; cut those of more than {LONGEST_S:g} s in parts")
    return warnings


def _model(size: int, corpus: Corpus, row: Row, offline: bool) -> ModelSettings:
    """conf/model/{blstm,lstm}.yaml in another size, and the adaptation of recipes/digits where speakers are few."""
    few = corpus.speakers < FEW_SPEAKERS
    window, stride = _steps(corpus, offline)
    layers, hidden = SIZES[size].offline if offline else SIZES[size].forward
    if offline:
        return ModelSettings(
            cmvn="utterance" if few else "global",
            front_end=FrontEndSettings(window=window, stride=stride),
            recurrent=RecurrentSettings(direction="bidirectional", layers=layers, hidden=hidden, dropout=row.dropout),
        )
    return ModelSettings(
        cmvn="running" if few else "global",
        front_end=FrontEndSettings(window=window, stride=stride, width=min(320, hidden)),
        recurrent=RecurrentSettings(
            direction="forward", layers=layers, hidden=hidden, dropout=row.dropout, layer_norm=True, residual=True
        ),
    )


def _steps(corpus: Corpus, offline: bool) -> tuple[int, int]:
    """Window and stride of the front end: the first with which letters have a step each."""
    choices = STEPS[offline]
    return next((one for one in choices if _impossible(corpus, *one) <= SPARED * len(corpus.lengths)), choices[-1])


def _impossible(corpus: Corpus, window: int, stride: int) -> int:
    """Utterances with more letters than steps, if they are played as fast as training may play them."""
    speed = max(_augmentation(corpus).speeds)
    return sum(1 + (int(frames / speed) - window) // stride < letters for frames, letters in corpus.lengths)


def _augmentation(corpus: Corpus) -> AugmentSettings:
    """The fewer speakers or hours, the stronger."""
    if corpus.speakers < FEW_SPEAKERS or corpus.hours < FEW_HOURS:
        return STRONG
    return MIDDLE if corpus.speakers < MANY_SPEAKERS or corpus.hours < MANY_HOURS else MILD


def _train(
    corpus: Corpus, hardware: Hardware, row: Row, size: Size, epochs: int, model: ModelSettings
) -> TrainSettings:
    batch_s = row.batch_s
    if hardware.gpu_gb:  # halved until it fits into two thirds of the GPU's memory
        parameters = num_parameters(model, FeatureSettings())
        while batch_s > ROWS[0].batch_s and memory_gb(parameters, model, batch_s) > hardware.gpu_gb * 2 / 3:
            batch_s /= 2
        workers = min(16, max(1, hardware.cores - 1))  # the network leaves all cores to the preparation of audio
    else:
        workers = max(1, min(hardware.cores, MOST_CORES) // 4)  # the network itself needs most cores
    steps = max(1, round(epochs * corpus.hours * 3600 / batch_s))
    return TrainSettings(
        epochs=epochs,
        batch_s=batch_s,
        max_duration_s=min(max(30.0, math.ceil(corpus.longest_s)), LONGEST_S),
        learning_rate=size.learning_rate,
        warmup_steps=min(max(100, steps // 50), 2000, steps // 4),
        keep_top_k=10 if epochs >= 60 else 5,
        workers=workers,
        bf16=bool(hardware.gpu_gb) or model.recurrent.hidden >= 256,  # small networks are faster without on a CPU
    )


# The largest batch that fits into memory, measured on training steps with noise, for utterances of several lengths.
#
# The memory of a step is linear in its rows (activations, gradients of activations, CTC's lattice), plus a constant
# (weights, their gradients, AdamW's two moments). Two measurements give the line, the line gives the number of rows,
# and a third measurement confirms it.

FIRST_S = 60.0  # seconds of audio in the first measurement; the second has twice as many
QUANTILES = (0.5, 0.9, 1.0)  # of the utterances' lengths: where one bucket ends
SHRINK = 0.9  # of the rows, if a measurement disproves the line; half of them, if memory ran out
TRIES = 8


@dataclass(frozen=True)
class Shape:
    """A step of training on ``rows`` utterances of ``seconds`` with ``labels`` labels each."""

    rows: int
    seconds: float
    labels: int


@dataclass(frozen=True)
class Bucket:
    """longest_s: maximum length of its utterances; rows: maximum batch size; peak: bytes of such a batch"""

    longest_s: float
    rows: int
    peak: int

    @property
    def max_batch_s(self) -> float:
        return self.rows * self.longest_s


Measure = Callable[[Shape], int | None]
"""The peak memory of a step in bytes; None: out of memory."""


def tune_buckets(seconds: Array, labels_per_s: float, budget: int, measure: Measure) -> Iterator[Bucket]:
    """The largest safe batch for each bucket of lengths, from the shortest bucket to the longest.

    seconds (N,): of each utterance as it is played; budget: bytes. Raises RunError if one utterance is too much.
    """
    bounds = sorted({float(np.ceil(10 * np.quantile(seconds, q, method="lower")) / 10) for q in QUANTILES})
    for longest_s in bounds:
        yield _largest(longest_s, max(1, round(labels_per_s * longest_s)), budget, measure)


def _largest(longest_s: float, labels: int, budget: int, measure: Measure) -> Bucket:
    rows = first = max(1, round(FIRST_S / longest_s))
    small, large = (measure(Shape(n * first, longest_s, labels)) for n in (1, 2))
    if small is not None and large is not None:
        per_row = max(1.0, (large - small) / first)
        constant = small - per_row * first
        rows = max(1, int((budget - constant) / per_row))
    for _ in range(TRIES):
        peak = measure(Shape(rows, longest_s, labels))
        if peak is not None and peak <= budget:
            return Bucket(longest_s, rows, peak)
        if rows == 1:
            break
        rows = max(1, rows // 2 if peak is None else int(SHRINK * rows))
    raise RunError(
        f"an utterance of {longest_s:g} s does not fit into {budget / 1e9:.2f} GB; set train.recompute=true, lower "
        "train.max_duration_s, or make the model smaller"
    )


def measure_step(settings: Settings, tokens: Sequence[str], device: str, shape: Shape) -> int | None:
    """The peak of two steps of training on noise: on a GPU its memory, on a CPU that of this process."""
    target = torch.device(device)
    try:
        _train_twice(settings, TokenTable(tuple(tokens)), target, shape)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        return None
    if target.type == "cuda":
        return int(torch.cuda.max_memory_reserved(target))
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RunError("tune-batch: this system does not tell how much memory a process took; it needs Linux or a GPU")


def in_a_process_of_its_own(work: Callable[[Shape], int | None]) -> Measure:
    """Run each measurement in a new process, so that memory freed by one does not count for the next."""

    def measure(shape: Shape) -> int | None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                return pool.submit(work, shape).result()
            except BrokenProcessPool:  # killed: there was no more memory
                return None

    return measure


def available_bytes(device: torch.device) -> int:
    """Free memory of the GPU, or of the machine within the limit of its container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = 1024 * int(line.split()[1])
    # Without a limit the first file says "max"; outside containers there are no such files.
    limit, used = ("".join(_lines(f"/sys/fs/cgroup/memory.{name}")) for name in ("max", "current"))
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _train_twice(settings: Settings, tokens: TokenTable, device: torch.device, shape: Shape) -> None:
    """Two steps of training; the second one has the optimizer's moments."""
    recognizer = new_recognizer(settings, tokens)
    recognizer.core.recompute = settings.train.recompute
    network = recognizer.trained.to(device).train()
    optimizer = new_optimizer(network, settings.train)
    frames = round(1000 * shape.seconds / settings.features.frame_shift_ms)
    features = torch.randn(shape.rows, frames, settings.features.dim, device=device)
    lengths = torch.full((shape.rows,), frames, device=device)
    labels = torch.randint(1, len(tokens), (shape.rows, shape.labels), device=device)
    counts = torch.full((shape.rows,), shape.labels, device=device)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.train.bf16 and has_bf16(device)):
            log_probs = recognizer.log_probs(recognizer.encode(Padded(features, lengths)))
            loss, _ = ctc_loss(log_probs, Padded(labels, counts), [str(row) for row in range(shape.rows)])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
