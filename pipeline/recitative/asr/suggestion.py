"""A model and a schedule for a corpus and a machine, with the reason for each choice; the table is in ``sizes``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recitative.asr.sizes import (
    FEW_HOURS,
    FEW_SPEAKERS,
    FEWEST_EPOCHS,
    MANY_HOURS,
    MANY_SPEAKERS,
    MIDDLE,
    MILD,
    MOST_CORES,
    ROWS,
    SIZES,
    SPARED,
    STEPS,
    STRIDE,
    STRONG,
    Corpus,
    Hardware,
    Row,
    Size,
    audio_per_second,
    default_hours,
    memory_gb,
    num_parameters,
    row_of,
)
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
    size = _largest_affordable(corpus, hardware, row, hours, offline)
    model = _model(size, corpus, row, offline)
    features = _features(corpus)
    parameters = num_parameters(model, features)
    possible = _epochs(corpus, hardware, parameters, hours, offline)
    epochs = max(FEWEST_EPOCHS, min(row.epochs, int(possible)))
    train = _train(corpus, hardware, row, SIZES[size], epochs, model)
    settings = Settings(features=features, augment=_augment(corpus, features, offline), model=model, train=train)
    takes = hours * epochs / possible
    return Suggestion(
        settings=settings,
        choices=tuple(_choices(corpus, hardware, row, settings, parameters, offline)),
        parameters=parameters,
        train_hours=takes,
        warnings=tuple(_warnings(corpus, row, epochs, hours, takes, offline)),
    )


def _largest_affordable(corpus: Corpus, hardware: Hardware, row: Row, hours: float, offline: bool) -> int:
    """The largest size that hears the corpus often enough; where none does, the largest of the fastest."""
    features = _features(corpus)
    weights = [num_parameters(_model(size, corpus, row, offline), features) for size in range(row.size + 1)]
    possible = [_epochs(corpus, hardware, parameters, hours, offline) for parameters in weights]
    enough = [size for size, epochs in enumerate(possible) if epochs >= row.fewest]
    return max(enough or [size for size, epochs in enumerate(possible) if epochs == max(possible)])


def _epochs(corpus: Corpus, hardware: Hardware, parameters: int, hours: float, offline: bool) -> float:
    """How often a network hears the corpus in so many hours."""
    speed = audio_per_second(parameters, hardware) * _steps(corpus, offline)[1] / STRIDE
    return hours * speed / max(corpus.hours, 1e-6)


def _choices(
    corpus: Corpus, hardware: Hardware, row: Row, settings: Settings, parameters: int, offline: bool
) -> list[Choice]:
    core, train, augment = settings.model.recurrent, settings.train, settings.augment
    hours = _hours(corpus)
    front_end = settings.model.front_end
    look_ahead_ms = front_end.window * settings.features.frame_shift_ms + 15
    voices = f"{corpus.speakers} speakers, {hours}: the fewer, the more"
    largest = SIZES[row.size].offline if offline else SIZES[row.size].forward
    cut = "" if (core.layers, core.hidden) == largest else f", {largest[0]} x {largest[1]} with more time"
    kind = (
        "bidirectional, hears whole recordings"
        if offline
        else f"forward, streams with {look_ahead_ms:g} ms of look-ahead"
    )
    more = f"; up to {row.epochs} with more time" if train.epochs < row.epochs else ""
    step_ms = front_end.core_stride * settings.features.frame_shift_ms
    machine = f"a GPU of {hardware.gpu_gb:.0f} GB" if hardware.gpu_gb else f"{hardware.cores} cores"
    return [
        Choice("network", f"{core.layers} x {core.hidden} LSTM", kind),
        Choice("parameters", f"{parameters / 1e6:.1f} M", f"as suits {hours} of speech{cut}"),
        Choice("frame step", f"{step_ms:g} ms", _step_reason(corpus, offline)),
        Choice("dropout", f"{core.dropout:g}", "the less speech, the more"),
        Choice("adaptation", settings.model.cmvn, _adaptation_reason(corpus)),
        Choice("filters", f"{settings.features.num_mel_bins}", f"few, up to {MANY_HOURS:g} h: they hide harmonics"),
        Choice("speeds", f"{augment.speeds[0]:g} to {augment.speeds[-1]:g}", voices),
        Choice("vocal tracts", f"{augment.vtlp[0]:g} to {augment.vtlp[1]:g}", "the same"),
        Choice("batch", f"{train.batch_s:g} s", "small corpora need the updates"),
        Choice("learning rate", f"{train.learning_rate:g}", "the larger the network, the smaller"),
        Choice("epochs", f"{train.epochs}", f"the less speech, the more{more}"),
        Choice("processes", f"{train.workers}", f"prepare audio beside the network; {machine}"),
    ]  # fmt: skip


def _hours(corpus: Corpus) -> str:
    return f"{corpus.hours:.1f} h" if corpus.hours >= 1 else f"{corpus.hours * 60:.0f} minutes"


def _step_reason(corpus: Corpus, offline: bool) -> str:
    if _steps(corpus, offline) != STEPS[offline][0]:
        return "short and quick utterances: with longer steps they would have more letters than steps"
    return "as in the recipes; every letter has a step of its own"


def _adaptation_reason(corpus: Corpus) -> str:
    if corpus.speakers < FEW_SPEAKERS:
        return f"few speakers ({corpus.speakers}): each recording's own mean is taken away"
    return f"{corpus.speakers} speakers show enough voices and microphones"


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
        warnings.append("with so little speech only words and voices that it was trained on will be recognised")
    if corpus.longest_s > LONGEST_S:
        warnings.append(f"an utterance lasts {corpus.longest_s:.0f} s; cut those of more than {LONGEST_S:g} s in parts")
    return warnings


def _features(corpus: Corpus) -> FeatureSettings:
    """Few filters do not show a voice's harmonics, which few speakers would teach."""
    return FeatureSettings(sample_rate=corpus.sample_rate, num_mel_bins=40 if corpus.hours <= MANY_HOURS else 80)


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
    speed = max(_strength(corpus).speeds)
    return sum(1 + (int(frames / speed) - window) // stride < letters for frames, letters in corpus.lengths)


def _augment(corpus: Corpus, features: FeatureSettings, offline: bool) -> AugmentSettings:
    """The stronger, the fewer speakers or hours; masks as wide as in recipes/an4, a third of the filters."""
    masks = SpecAugmentSettings(
        freq_masks=2,
        freq_width=features.num_mel_bins // 3,
        time_masks=2,
        time_width=40 if offline else 20,  # with less context, wide masks leave nothing to guess a letter from
    )
    return _strength(corpus).model_copy(update={"spec_augment": masks})


def _strength(corpus: Corpus) -> AugmentSettings:
    if corpus.speakers < FEW_SPEAKERS or corpus.hours < FEW_HOURS:
        return STRONG
    return MIDDLE if corpus.speakers < MANY_SPEAKERS or corpus.hours < MANY_HOURS else MILD


def _train(
    corpus: Corpus, hardware: Hardware, row: Row, size: Size, epochs: int, model: ModelSettings
) -> TrainSettings:
    batch_s = _batch_s(hardware, row, model)
    steps = max(1, round(epochs * corpus.hours * 3600 / batch_s))
    return TrainSettings(
        epochs=epochs,
        batch_s=batch_s,
        max_duration_s=min(max(30.0, math.ceil(corpus.longest_s)), LONGEST_S),
        learning_rate=size.learning_rate,
        warmup_steps=min(max(100, steps // 50), 2000, steps // 4),
        keep_best=10 if epochs >= 60 else 5,
        workers=_workers(hardware),
        bf16=bool(hardware.gpu_gb) or model.recurrent.hidden >= 256,  # small networks are faster without on a CPU
    )


def _batch_s(hardware: Hardware, row: Row, model: ModelSettings) -> float:
    """That of the row, halved until it fits into two thirds of a GPU's memory."""
    batch_s = row.batch_s
    if hardware.gpu_gb:
        parameters = num_parameters(model, FeatureSettings())
        while batch_s > ROWS[0].batch_s and memory_gb(parameters, model, batch_s) > hardware.gpu_gb * 2 / 3:
            batch_s /= 2
    return batch_s


def _workers(hardware: Hardware) -> int:
    """Processes that prepare audio: on a CPU the network needs most cores itself, a GPU needs them all for this."""
    return min(16, max(1, hardware.cores - 1)) if hardware.gpu_gb else max(1, min(hardware.cores, MOST_CORES) // 4)
