"""Typed settings of a run: one frozen tree, saved in the model folder and in the exported file.

Precedence, lowest first: the defaults below, files named under ``include``, the file itself, overrides
``section.key=value``. An unknown key is an error that names the nearest known one. Settings files contain values only;
nothing in them is executed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recitative.errors import DataError, UsageError, counted
from recitative.reading import exists, parsed_yaml, read_yaml


class Section(BaseModel):
    """Base of all sections of settings: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SILENCE = -16.0
"""Log power below that of digital silence in Kaldi's fbank, -15.94 (the logarithm of float32's epsilon)."""


class FeatureSettings(Section):
    """Kaldi's fbank or MFCC. Names follow kaldi/src/feat, with units."""

    kind: Literal["fbank", "mfcc"] = "fbank"
    sample_rate: int = Field(16000, ge=4000, le=96000)
    num_mel_bins: int = Field(80, ge=4, le=256)
    num_ceps: int = Field(13, ge=2, le=128)  # mfcc only
    delta_order: int = Field(0, ge=0, le=2)  # 2 appends deltas and delta-deltas
    frame_length_ms: float = Field(25.0, gt=0, le=200)
    frame_shift_ms: float = Field(10.0, gt=0, le=100)
    low_freq_hz: float = Field(20.0, ge=0)
    high_freq_hz: float = 0.0  # <= 0: offset from the Nyquist frequency, as in Kaldi
    log_floor: float = Field(SILENCE, ge=SILENCE)  # fbank only: lower bound of the log power, 16-bit scale

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSettings:
        if self.kind == "mfcc" and self.num_ceps > self.num_mel_bins:
            raise ValueError(f"num_ceps={self.num_ceps} must be at most num_mel_bins={self.num_mel_bins}")
        if self.kind == "mfcc" and self.log_floor > SILENCE:
            raise ValueError(f"log_floor={self.log_floor:g} needs kind=fbank")
        nyquist = self.sample_rate / 2
        high = self.high_freq_hz if self.high_freq_hz > 0 else nyquist + self.high_freq_hz
        if not self.low_freq_hz < high <= nyquist:
            raise ValueError(f"the band {self.low_freq_hz:g} to {high:g} Hz must lie within 0 to {nyquist:g} Hz")
        return self

    @property
    def dim(self) -> int:
        """Channels of one frame, deltas included."""
        static = self.num_mel_bins if self.kind == "fbank" else self.num_ceps
        return static * (1 + self.delta_order)

    # The order of these products, and so the rounding, is Kaldi's.

    @property
    def window_samples(self) -> int:
        """Samples of one frame, rounded down."""
        return int(self.sample_rate * 0.001 * self.frame_length_ms)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next, rounded down."""
        return int(self.sample_rate * 0.001 * self.frame_shift_ms)

    def num_frames(self, num_samples: int) -> int:
        """Frames of audio, 1 + (S - window) // shift or 0: snip_edges in kaldi/src/feat/feature-window.cc."""
        return max(0, 1 + (num_samples - self.window_samples) // self.hop_samples)


class SpecAugmentSettings(Section):
    """Park et al. 2019, without time warping."""

    freq_masks: int = Field(0, ge=0)
    freq_width: int = Field(27, ge=1)  # widest mask, in channels
    time_masks: int = Field(0, ge=0)
    time_width: int = Field(40, ge=1)  # widest mask, in frames
    time_fraction: float = Field(0.2, gt=0, le=1)  # widest mask, as a share of the utterance


class AugmentSettings(Section):
    """Augmentation of training utterances; random for every (seed, epoch, utterance)."""

    speeds: tuple[float, ...] = (1.0,)  # one is chosen at random; 0.9 is slower and lower
    speed_kind: Literal["samples", "frames"] = "samples"  # frames: fbank only; changes the duration, not the formants
    volume_db: tuple[float, float] = (0.0, 0.0)  # range of the random gain
    vtlp: tuple[float, float] = (1.0, 1.0)  # fbank only: range of the random factor of formant frequencies
    trim_db: tuple[float, float] | None = None  # fbank only: trim ends this far below the loudest frame; null: off
    pad_silence_s: float = Field(0.0, ge=0)  # fbank only: silence added at both ends, up to this; not in batch_s
    eq_db: float = Field(0.0, ge=0)  # fbank only: random spectral envelope within +- this, as of microphones
    noise_floor_snr_db: tuple[float, float] | None = None  # fbank only: SNR of added stationary noise; null: off
    room_probability: float = Field(0.0, ge=0, le=1)  # fbank only: reverberation with an exponential tail
    room_rt60_s: tuple[float, float] = (0.2, 0.8)  # reverberation time
    room_drr_db: tuple[float, float] = (-3.0, 12.0)  # direct-to-reverberant ratio
    babble_probability: float = Field(0.0, ge=0, le=1)  # fbank only: adds one to three other utterances
    babble_snr_db: tuple[float, float] = (5.0, 25.0)
    telephone_probability: float = Field(0.0, ge=0, le=1)  # fbank only: telephone band
    noise_dir: Path | None = None  # folder of recordings to add as noise
    noise_probability: float = Field(0.5, ge=0, le=1)
    noise_snr_db: tuple[float, float] = (5.0, 25.0)
    reverb_dir: Path | None = None  # folder of impulse responses to convolve with
    reverb_probability: float = Field(0.3, ge=0, le=1)
    spec_augment: SpecAugmentSettings = SpecAugmentSettings()

    @model_validator(mode="after")
    def _consistent(self) -> AugmentSettings:
        if not self.speeds or not all(0.5 <= speed <= 2.0 for speed in self.speeds):
            raise ValueError(f"speeds={self.speeds} must be one or more numbers from 0.5 to 2.0")
        ranges = (
            "volume_db",
            "vtlp",
            "noise_snr_db",
            "trim_db",
            "noise_floor_snr_db",
            "room_rt60_s",
            "room_drr_db",
            "babble_snr_db",
        )
        for name in ranges:
            low, high = getattr(self, name) or (0.0, 0.0)
            if low > high:
                raise ValueError(f"{name}=[{low}, {high}] must be [lowest, highest]")
        if self.room_rt60_s[0] <= 0:
            raise ValueError(f"room_rt60_s={list(self.room_rt60_s)} must be above 0")
        if self.trim_db and self.trim_db[0] < 0:
            raise ValueError(f"trim_db={list(self.trim_db)} must be 0 or more")
        if not (self.vtlp[0] >= 0.5 and self.vtlp[1] <= 2.0):
            raise ValueError(f"vtlp={list(self.vtlp)} must lie within 0.5 to 2.0")
        return self

    def require_fit(self, features: FeatureSettings) -> None:
        """Raise ValueError for augmentation that needs log-mel features, if the features are of another kind."""
        if features.kind != "fbank" and self.vtlp != (1.0, 1.0):
            raise ValueError(f"augment.vtlp={list(self.vtlp)} needs features.kind=fbank")
        of_log_mel = {
            "trim_db": self.trim_db,
            "pad_silence_s": self.pad_silence_s,
            "eq_db": self.eq_db,
            "noise_floor_snr_db": self.noise_floor_snr_db,
            "room_probability": self.room_probability,
            "babble_probability": self.babble_probability,
            "telephone_probability": self.telephone_probability,
            "speed_kind=frames": self.speed_kind == "frames",
        }
        if (features.kind != "fbank" or features.delta_order) and any(of_log_mel.values()):
            first = next(name for name, value in of_log_mel.items() if value)
            raise ValueError(f"augment.{first} needs features.kind=fbank without deltas")


class FrontEndSettings(Section):
    """Layers between features and recurrent core, which reduce the frame rate."""

    kind: Literal["stack", "conv"] = "stack"
    window: int = Field(3, ge=1)  # stack: frames that are concatenated
    stride: int = Field(3, ge=1)  # stack: frames per output; at most the window
    channels: tuple[int, ...] = (32, 32)  # conv: channels of each causal 3x3 layer; each halves the mel axis
    strides: tuple[int, ...] = ()  # conv: frames per output of each layer; empty: all 2
    norm: bool = False  # conv: batch normalization after each layer
    width: int = Field(0, ge=0)  # width of a linear projection of the output; 0 = none
    outputs_per_step: int = Field(1, ge=1, le=4)  # recognizers: output frames for each step of the recurrent core

    @model_validator(mode="after")
    def _consistent(self) -> FrontEndSettings:
        if self.stride > self.window:
            raise ValueError(f"stride={self.stride} must be at most window={self.window}: else frames are skipped")
        if self.strides and len(self.strides) != len(self.channels):
            raise ValueError(
                f"strides={list(self.strides)} must have one entry for each of channels={list(self.channels)}"
            )
        if not all(1 <= stride <= 3 for stride in self.strides):
            raise ValueError(f"strides={list(self.strides)} must each be 1, 2 or 3; else frames are skipped")
        if self.core_stride % self.outputs_per_step:
            frames = counted(self.core_stride, "frame")
            found = f"outputs_per_step={self.outputs_per_step} must divide the {frames} of a step"
            raise ValueError(found)
        return self

    @property
    def core_stride(self) -> int:
        """Feature frames for each step of the recurrent core."""
        return self.stride if self.kind == "stack" else prod(self.conv_strides)

    @property
    def output_stride(self) -> int:
        """Feature frames for each output frame."""
        return self.core_stride // self.outputs_per_step

    @property
    def conv_strides(self) -> tuple[int, ...]:
        """Time stride of each convolution."""
        return self.strides or (2,) * len(self.channels)

    def num_output_frames(self, frames: int) -> int:
        """Output frames of a network: ``outputs_per_step`` for each step of the recurrent core.

        The core takes a step for each whole window when stacking, for one frame in ``stride`` of each convolution.
        """
        if self.kind == "stack":
            frames = max(0, 1 + (frames - self.window) // self.stride)
        else:
            for stride in self.conv_strides:
                frames = (frames + stride - 1) // stride
        return frames * self.outputs_per_step

    def num_input_frames(self, outputs: int) -> int:
        """The fewest frames that give at least this many output frames, 1 or more."""
        steps = math.ceil(outputs / self.outputs_per_step)
        if self.kind == "stack":
            return self.window + (steps - 1) * self.stride
        return (steps - 1) * math.prod(self.conv_strides) + 1

    def least_samples(self, features: FeatureSettings) -> int:
        """Samples of the shortest recording with one frame at the recurrent core."""
        return features.window_samples + (self.num_input_frames(1) - 1) * features.hop_samples

    @classmethod
    def subsampled_by(cls, factor: int) -> FrontEndSettings:
        """The simplest front end that keeps one of ``factor`` frames."""
        return cls(kind="stack", window=factor, stride=factor)


class RecurrentSettings(Section):
    """The recurrent core; see ``recitative.nn.recurrent``."""

    cell: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"] = "lstm"
    direction: Literal["forward", "bidirectional", "latency_controlled"] = "bidirectional"
    layers: int = Field(3, ge=1)
    hidden: int = Field(320, ge=1)  # per direction
    projection: int = Field(0, ge=0)  # linear width after each layer; 0 = none
    layer_norm: bool = False
    residual: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    chunk: int = Field(16, ge=1)  # latency_controlled: frames of a chunk
    right_context: int = Field(8, ge=0)  # latency_controlled: frames of look-ahead after the chunk


class ForwardRecurrentSettings(RecurrentSettings):
    """The recurrent core, forward only."""

    direction: Literal["forward"] = "forward"
    layers: int = Field(1, ge=1)
    hidden: int = Field(256, ge=1)


class AttentionSettings(Section):
    """An attention decoder, trained in addition to CTC; see ``recitative.asr.network``."""

    weight: float = Field(0.0, ge=0, lt=1)  # weight of its loss; CTC has the rest; 0 = no decoder
    hidden: int = Field(160, ge=1)  # of its core, and of the encoded frames
    embedding: int = Field(32, ge=1)  # width of the previous label
    key_width: int = Field(64, ge=1)  # of queries and keys
    location_channels: int = Field(10, ge=1)
    location_kernel: int = Field(31, ge=1)  # odd; core frames, over the previous attention weights
    dropout: float = Field(0.0, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # probability distributed over all tokens
    sampling: float = Field(0.0, ge=0, le=1)  # scheduled sampling: probability of feeding back the model's output

    @model_validator(mode="after")
    def _consistent(self) -> AttentionSettings:
        if self.location_kernel % 2 == 0:
            raise ValueError(f"location_kernel={self.location_kernel} must be odd")
        return self


class ModelSettings(Section):
    cmvn: Literal["global", "utterance", "running"] = (
        "global"  # utterance, running: mean normalization after the global one
    )
    front_end: FrontEndSettings = FrontEndSettings()
    recurrent: RecurrentSettings = RecurrentSettings()
    lookahead_frames: int = Field(0, ge=0)  # look-ahead convolution after the core, in core frames
    input_dropout: float = Field(0.0, ge=0, lt=1)
    attention: AttentionSettings = AttentionSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ModelSettings:
        if self.attention.weight and self.front_end.outputs_per_step > 1:
            raise ValueError(f"front_end.outputs_per_step must be 1 with attention.weight={self.attention.weight}")
        return self


class TrainSettings(Section):
    seed: int = 1
    epochs: int = Field(30, ge=1)
    batch_s: float = Field(60.0, gt=0)  # maximum seconds of audio in a batch over all workers, with padding
    accumulate: int = Field(1, ge=1)  # gradient accumulation: parts in which a worker computes its share of a batch
    max_batch_s: tuple[
        tuple[float, float], ...
    ] = ()  # (longest utterance, maximum seconds in a part), by 'find-batch-size'
    short_first_epochs: int = Field(0, ge=0)  # first epochs, in which batches are sorted by length
    recompute: bool = False  # activation checkpointing: less memory, a third more time
    shuffle_shards: int = Field(0, ge=0)  # number of shards to shuffle together; 0 = all
    max_duration_s: float = Field(30.0, gt=0)  # longer training utterances are an error
    learning_rate: float = Field(2e-3, gt=0)  # peak
    warmup_steps: int = Field(200, ge=0)
    final_lr_fraction: float = Field(0.01, gt=0, le=1)  # end of the cosine decay, relative to the peak
    restarts: tuple[int, ...] = ()  # epochs at which the decay restarts from the peak
    weight_decay: float = Field(1e-2, ge=0)
    clip_norm: float = Field(5.0, gt=0)
    ema: float = Field(0.0, ge=0, lt=1)  # EMA decay of the weights; the average is evaluated and saved; 0 = off
    freeze: tuple[str, ...] = ()  # prefixes of weights to freeze, such as stages.core.layers.0
    patience: int = Field(0, ge=0)  # early stopping after this many epochs without a better dev score; 0 = off
    checkpoint_every_steps: int = Field(200, ge=1)
    keep_top_k: int = Field(5, ge=1)  # checkpoints of the best epochs to keep for averaging
    max_bad_steps: int = Field(10, ge=1)  # consecutive steps with NaN or inf that stop the run
    workers: int = Field(1, ge=0)  # processes that prepare batches
    threads: int = Field(0, ge=0)  # CPU threads of the network; 0 = cores minus workers, at least one
    cache_mb: float = Field(1024.0, ge=0)  # memory for caching decoded audio; used if all of it fits
    cache_features: bool = False  # cache features of each speed; not with noise_dir or reverb_dir
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bf16: bool = True  # if the device supports it

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        bounds = (0, *self.restarts, self.epochs)
        if any(a >= b for a, b in pairwise(bounds)):
            raise ValueError(f"restarts={self.restarts} must increase and lie between 0 and epochs={self.epochs}")
        longest = [longest_s for longest_s, _ in self.max_batch_s]
        if any(number <= 0 for pair in self.max_batch_s for number in pair) or longest != sorted(set(longest)):
            raise ValueError(
                f"max_batch_s={self.max_batch_s} must be pairs of positive seconds, with increasing first values"
            )
        return self


class BestEpochTrainSettings(TrainSettings):
    """Defaults for models that are the best epoch, not an average of epochs."""

    epochs: int = Field(20, ge=1)
    warmup_steps: int = Field(100, ge=0)
    keep_top_k: int = Field(1, ge=1)


_FOR_AUDIO = ("batch_s", "max_duration_s", "workers", "cache_mb")  # training settings that apply to audio only


class TokenTrainSettings(BestEpochTrainSettings):
    """Training settings for text and music, whose batches are not measured in seconds of audio."""

    batch_settings: ClassVar[str] = "text.streams and text.bptt"  # settings to use instead
    clip_norm: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _no_audio(self) -> Self:
        for name in _FOR_AUDIO:
            if getattr(self, name) != TrainSettings.model_fields[name].default:
                raise ValueError(f"{name} applies to audio only; see {self.batch_settings}")
        return self


class TextTrainSettings(TokenTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(40, ge=1)
    learning_rate: float = Field(5e-3, gt=0)  # peak
    warmup_steps: int = Field(20, ge=0)
    patience: int = Field(5, ge=0)


class CrfSettings(Section):
    """Training against all other label sequences; see ``recitative.nn.heads``."""

    weight: float = Field(0.0, ge=0, le=1)  # weight of the CRF loss; CTC has the rest; 0.9 is usual, after CTC alone


class DistillSettings(Section):
    """Distillation from a teacher, in addition to the transcripts; see ``recitative.asr.data``."""

    weight: float = Field(0.7, ge=0, le=1)  # weight of the teacher's frames; CTC on the transcripts has the rest
    delay_frames: int = Field(0, ge=-20, le=20)  # core frames by which the student outputs a token later
    window_frames: int = Field(1, ge=0, le=10)  # tolerance around delay_frames, for each token
    nbest: float = Field(0.0, ge=0, le=1)  # probability of replacing a transcript by one of the teacher's n-best


class DecodeSettings(Section):
    """Decoding; ``recitative tune`` chooses the weights on a dev set. Scores are natural logarithms."""

    kind: Literal["greedy", "beam"] = "greedy"
    beam: int = Field(16, ge=1, le=10000)  # number of hypotheses
    token_beam: float = Field(6.5, gt=0)  # prunes tokens this far below the best of a frame
    score_beam: float = Field(12.0, gt=0)  # prunes hypotheses this far below the best
    lm_weight: float = Field(0.5, ge=0)
    word_bonus: float = 0.0  # added for every word; offsets the language model's bias to short texts
    prior_weight: float = Field(0.0, ge=0, le=1)  # log probabilities - weight * ln of each token's mean probability
    unknown_score: float = Field(-10.0, le=0)  # of words unknown to the language model
    hot_word_weight: float = Field(2.0, ge=0, le=50)  # added for every word of a hot phrase; see docs/decoding.md


class Settings(Section):
    """Settings of a recognizer."""

    kind: Literal["recognizer"] = "recognizer"  # identifies the kind of model; missing in release 0.1
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    crf: CrfSettings = CrfSettings()
    distill: DistillSettings = DistillSettings()
    decode: DecodeSettings = DecodeSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        self.augment.require_fit(self.features)
        return self


class TrainingData(Section):
    """The inputs of a training run: ``data`` in a settings file, or options of 'recitative train'. Each kind of model
    has its own."""


class RecordingsData(TrainingData):
    train: Path  # a data directory, or a folder of shards, to train on
    dev: Path  # a data directory that chooses the best epoch


class RecognizerData(RecordingsData):
    tokens: Path  # the token table
    cmvn: Path | None = None  # the normalization statistics; null: those of ``init``
    lexicon: Path | None = None  # where tokens are phones
    init: Path | None = None  # a model folder whose weights the run begins with
    teacher: Path | None = None  # a model folder for distillation
    unlabeled: Path | None = None  # more audio, for the teacher alone
    alternatives: Path | None = None  # a teacher's n-best texts of the training utterances


class AudioTaskSettings(Protocol):
    """The settings that all tasks on utterances have."""

    @property
    def features(self) -> FeatureSettings: ...

    @property
    def augment(self) -> AugmentSettings: ...

    @property
    def train(self) -> TrainSettings: ...


Tree = TypeVar("Tree", bound=BaseModel)

_RENAMED = (
    ("", "piece_s", "crop_s"),
    ("", "context_s", "left_context_s"),
    ("augment.", "cut_db", "trim_db"),
    ("augment.", "quiet_s", "pad_silence_s"),
    ("augment.", "colour_db", "eq_db"),
    ("augment.", "hiss_snr_db", "noise_floor_snr_db"),
    ("train.", "most_s", "max_batch_s"),
    ("train.", "frozen", "freeze"),
    ("train.", "keep_best", "keep_top_k"),
    ("", "watch", "detection"),
    ("", "unlabelled", "unlabeled"),
    ("data.", "unlabelled", "unlabeled"),
)
"""Section, name before release 0.2, which files of models and of users may have, and name."""

_NEW_NAMES = {section + old: new for section, old, new in _RENAMED}
_OLD_NAMES = {section + new: old for section, old, new in _RENAMED}


def load_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Load the settings of a recognizer; see ``load_tree``."""
    return load_tree(Settings, path, overrides)


def load_tree(tree: type[Tree], path: Path | None = None, overrides: Sequence[str] = ()) -> Tree:
    """Read settings from a YAML file and ``section.key=value`` overrides.

    Raises UsageError that names the file, the key and, for an unknown key, the nearest known one.
    """
    return validate_tree(tree, read_tree(path, overrides), where=str(path) if path else "settings")


def read_tree(path: Path | None = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The values that ``load_tree`` checks. Raises UsageError for a file or an override without values."""
    values: dict[str, Any] = _read_with_includes(path, ()) if path else {}
    for override in overrides:
        values = _merge(values, _rename(_parse_override(override), _NEW_NAMES))
    return values


def validate_tree(tree: type[Tree], values: Mapping[str, Any], *, where: str) -> Tree:
    """Validate a tree of plain values; error messages start with ``where``."""
    try:
        return tree.model_validate(_rename(values, _NEW_NAMES))
    except ValidationError as error:
        raise UsageError(_explain(error, where, tree)) from None


def dump_settings(settings: BaseModel) -> str:
    """The resolved settings as YAML; ``load_settings`` and ``load_tree`` read it back to an equal tree."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def with_older_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names that they had before release 0.2, for the digest of a run that was begun then."""
    return _rename(values, _OLD_NAMES)


def _rename(values: Mapping[str, Any], names: Mapping[str, str], section: str = "") -> dict[str, Any]:
    """A key that is there by both names keeps them: the older one is then an unknown setting."""
    renamed = {}
    for key, value in values.items():
        name = names.get(f"{section}{key}", key)
        inner = _rename(value, names, f"{section}{key}.") if isinstance(value, Mapping) else value
        renamed[key if name in values else name] = inner
    return renamed


def _read_with_includes(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    resolved = path.resolve() if exists(path) else path  # of an invalid name, the reader says what is wrong
    if resolved in chain:
        raise UsageError(f"{path}: includes itself through {' -> '.join(str(p) for p in chain)}; remove the cycle")
    try:
        values = read_yaml(path, "a YAML settings file") or {}
    except DataError as error:
        raise UsageError(str(error)) from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: is a {type(values).__name__}; a settings file has 'section:' lines with values")
    includes = values.pop("include", [])
    if not isinstance(includes, list):
        raise UsageError(f"{path}: 'include' must be a list of paths relative to this file")
    merged: dict[str, Any] = {}
    for include in includes:
        merged = _merge(merged, _read_with_includes(path.parent / str(include), (*chain, resolved)))
    return _merge(merged, _rename(values, _NEW_NAMES))


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both_are_sections = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both_are_sections else value
    return merged


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"setting '{override}': must be section.key=value, for example train.epochs=10")
    try:
        value: Any = parsed_yaml(text, "")
    except DataError:
        raise UsageError(f"setting '{override}': the value is not YAML; quote it") from None
    for name in reversed(key.strip().split(".")):
        value = {name: value}
    return dict(value)


def _explain(error: ValidationError, where: str, tree: type[BaseModel]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known_keys(tree, first["loc"][:-1])
        nearest = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"known here: {', '.join(known)}"
        return f"{where}: unknown setting '{key}'; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    found = f"{key}={first['input']!r}" if not isinstance(first["input"], Mapping) else key
    return ": ".join(part for part in (where, found, message[:1].lower() + message[1:]) if part)


def _known_keys(tree: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    section: Any = tree
    for part in location:
        section = section.model_fields[str(part)].annotation
    return sorted(section.model_fields)
