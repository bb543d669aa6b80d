"""Choosing how to decode on a dev set: language model weight, word bonus, and the calibration of confidences.

The network runs once; every pair of weights is tried on what it said. On a small dev set the best pair is best by
chance, so each is judged together with its neighbors: the pair with the fewest errors in the mean over itself (half)
and the pairs next to it (the other half) is chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from recitative.asr.decoding import DecodingResult, Language, new_decoder
from recitative.asr.stream import Transcriber
from recitative.config import DecodeSettings
from recitative.data.directory import DataDirectory
from recitative.decoding.hypotheses import FEATURES
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.errors import DataError
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.score.calibration import Calibrator, expected_calibration_error, hypothesis_correct
from recitative.score.wer import ErrorCounts, align, score
from recitative.stage import Array

Advance = Callable[[int, int], None]

LM_WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)
WORD_BONUSES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
FOLDS = 4  # of the dev set, to judge the calibration on words it was not fitted to
BATCH = 16


@dataclass(frozen=True)
class DevOutputs:
    """What a network says of a dev set: log probabilities (T, V) and the reference of each utterance, and log
    probabilities of recordings without speech."""

    log_probs: dict[str, Array]
    refs: dict[str, str]
    non_speech: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuned:
    """settings, language: what to store in the model; trials: (lm_weight, word_bonus) -> errors."""

    settings: DecodeSettings
    language: Language
    trials: Mapping[tuple[float, float], ErrorCounts]
    without_lm: ErrorCounts
    ece_before: float
    ece_after: float

    @property
    def chosen(self) -> ErrorCounts:
        return self.trials[self.settings.lm_weight, self.settings.word_bonus]


def hear(transcriber: Transcriber, data_dir: Path, advance: Advance = lambda done, total: None) -> DevOutputs:
    """Run the network over a data directory. Raises DataError for utterances without text or of another rate."""
    utterances = DataDirectory.read(data_dir).utterances
    silent = [u.utt_id for u in utterances if not u.text]
    if silent:
        raise DataError(f"{data_dir}/text: '{silent[0]}'", "has no text", "a transcript", "add it")
    by_length = sorted(utterances, key=lambda u: audio_duration_s(u, transcriber.sample_rate))
    found: dict[str, Array] = {}
    for start in range(0, len(by_length), BATCH):
        group = by_length[start : start + BATCH]
        rows = transcriber.log_probs([read_utterance(u) for u in group])
        found |= {u.utt_id: row for u, row in zip(group, rows, strict=True)}
        advance(len(found), len(by_length))
    noises = non_speech(transcriber.sample_rate)
    unspoken = transcriber.log_probs(list(noises.values()))
    return DevOutputs(found, {u.utt_id: u.text or "" for u in utterances}, dict(zip(noises, unspoken, strict=True)))


def non_speech(rate: int, seconds: float = 6.0) -> dict[str, Array]:
    """Recordings (S,) without a word, by name: white, pink and brown noise, hum, and chords, each at three levels."""
    rng = np.random.default_rng(1)
    count = round(seconds * rate)
    hz = np.fft.rfftfreq(count, 1 / rate)
    hz[0] = hz[1]
    t = np.arange(count) / rate
    kinds: dict[str, Array] = {}
    for name, power in (("white", 0.0), ("pink", 0.5), ("brown", 1.0)):
        kinds[name] = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) / hz**power, count)
    kinds["hum"] = np.sum([np.sin(2 * np.pi * 50 * n * t) / n for n in range(1, 20)], axis=0)
    notes = 220 * 2 ** (rng.integers(0, 24, (round(2 * seconds), 3)) / 12)  # (chords of half a second, voices), Hz
    chords = [np.sin(2 * np.pi * np.outer(chord, t[: rate // 2])).sum(0) for chord in notes]
    kinds["chords"] = np.concatenate(chords)
    return {
        f"{name} at {db} dB": (10 ** (db / 20) * sound / np.sqrt(np.mean(sound**2))).astype(np.float32)
        for name, sound in kinds.items()
        for db in (-20, -40, -60)  # of full scale
    }


def tune(
    transcriber: Transcriber, language: Language, dev: DevOutputs, advance: Advance = lambda done, total: None
) -> Tuned:
    """Try all pairs of weights, choose one, and calibrate the confidences of its words.

    Without a language model only the word bonus is tried. ``advance(done, total)`` counts pairs.
    """
    base = transcriber.settings.decode.model_copy(update={"kind": "beam", "lm_weight": 0.0, "word_bonus": 0.0})
    bare = replace(language, calibrator=None)
    weights = LM_WEIGHTS if language.ngram else (0.0,)
    trials: dict[tuple[float, float], ErrorCounts] = {}
    pairs = list(itertools.product(weights, WORD_BONUSES))
    tree = LexiconTree(language.lexicon, transcriber.timed.table) if language.lexicon else None  # for all of them
    for pair in pairs:
        trials[pair] = _errors(decode(transcriber, _with(base, pair), bare, dev, tree), dev)
        advance(len(trials), len(pairs))
    without_lm = _errors(decode(transcriber, base, replace(bare, ngram=""), dev, tree), dev)
    settings = _with(base, _best(trials, weights))
    spoken = decode(transcriber, settings, bare, dev, tree)
    spoken |= decode(transcriber, settings, bare, replace(dev, log_probs=dev.non_speech), tree)
    calibrator, before, after = calibrate(spoken, dev.refs | dict.fromkeys(dev.non_speech, ""))
    return Tuned(settings, replace(bare, calibrator=calibrator), trials, without_lm, before, after)


def decode(
    transcriber: Transcriber,
    settings: DecodeSettings,
    language: Language,
    dev: DevOutputs,
    tree: LexiconTree | None = None,
) -> dict[str, DecodingResult]:
    """Every utterance with these settings. tree: of the language's lexicon."""
    decoder = new_decoder(settings, transcriber.timed, language, tree=tree)
    return {utt_id: decoder.finish(decoder.step(rows, decoder.start())) for utt_id, rows in dev.log_probs.items()}


def calibrate(found: Mapping[str, DecodingResult], refs: Mapping[str, str]) -> tuple[Calibrator, float, float]:
    """A calibrator fitted to all words, and the expected calibration error before it and after.

    The error after is that of calibrators fitted to the other words, ``FOLDS`` parts of whole utterances.
    """
    names = sorted(found)
    features, correct, folds = _marked_words(names, found, refs)
    posteriors = 1.0 / (1.0 + np.exp(-features[:, 0]))
    judged = np.zeros(len(correct))
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            judged[held] = Calibrator.fit(features[~held], correct[~held], FEATURES).apply(features[held])
    before, after = (expected_calibration_error(values, correct) for values in (posteriors, judged))
    return Calibrator.fit(features, correct, FEATURES), before, after


def _marked_words(
    names: Sequence[str], found: Mapping[str, DecodingResult], refs: Mapping[str, str]
) -> tuple[Array, Array, Array]:
    """Of every word that was found: its features (N, F), whether it is right (N,), and its fold (N,)."""
    features: list[tuple[float, ...]] = []
    correct: list[bool] = []
    folds: list[int] = []
    for number, name in enumerate(names):
        spoken = found[name]
        features += [evidence.features() for evidence in spoken.evidence]
        correct += hypothesis_correct(align(refs[name].split(), [word.word for word in spoken.words]))
        folds += [number % FOLDS] * len(spoken.words)
    if not correct:
        raise DataError("dev set", "no word was recognized", "at least one", "train the model further")
    return np.array(features), np.array(correct), np.array(folds)


def _errors(found: Mapping[str, DecodingResult], dev: DevOutputs) -> ErrorCounts:
    return score(dev.refs, {utt_id: spoken.text for utt_id, spoken in found.items()}).total


def _with(settings: DecodeSettings, pair: tuple[float, float]) -> DecodeSettings:
    return settings.model_copy(update={"lm_weight": pair[0], "word_bonus": pair[1]})


def _best(trials: Mapping[tuple[float, float], ErrorCounts], weights: Sequence[float]) -> tuple[float, float]:
    def judged(pair: tuple[float, float]) -> float:
        i, j = weights.index(pair[0]), WORD_BONUSES.index(pair[1])
        around = [
            trials[weights[a], WORD_BONUSES[b]].errors
            for a in range(max(i - 1, 0), min(i + 2, len(weights)))
            for b in range(max(j - 1, 0), min(j + 2, len(WORD_BONUSES)))
            if (a, b) != (i, j)
        ]
        return trials[pair].errors + sum(around) / len(around)

    return min(trials, key=lambda pair: (judged(pair), abs(pair[1]), pair[0]))
