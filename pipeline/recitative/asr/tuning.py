"""Measured on a dev set: language model weight, word bonus and confidences for decoding, weights for rescoring, int8.

Decoding: the network runs once. Every prior weight is tried on its output, and with the best one every pair of language
model weight and word bonus. On a small dev set the best is best by chance, so each is judged together with its
neighbors: by its errors plus the mean of theirs.

Rescoring n-best lists with an attention decoder and a recurrent language model:

    score' = score + attention_weight * ln P_attention(tokens | audio) + lm_weight * ln P_lm(words)

for the alternatives of each utterance in the output of ``decode --nbest`` (Mikolov et al. 2010 for language models,
Kim, Hori & Watanabe 2017 for attention). Both weights are tuned by trying all pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from recitative.asr.decoding import DecodingResult, new_decoder
from recitative.asr.kind import Language
from recitative.asr.network import RecognizerModel
from recitative.asr.recognizer import word_errors
from recitative.asr.stream import Transcriber, load_transcriber
from recitative.config import DecodeSettings
from recitative.data.directory import DataDirectory
from recitative.decoding.hypotheses import FEATURES, Calibrator
from recitative.decoding.lexicon_tree import LexiconTree
from recitative.errors import DataError, UsageError
from recitative.features.extraction import audio_duration_s, audio_durations_s, read_batches, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.model.export import Advance, measure_inputs
from recitative.model.graph import Inputs
from recitative.nn.heads import AttentionDecoder, padded_labels
from recitative.nn.ragged import pad_features, to_device
from recitative.reading import checked, read_json_lines
from recitative.score.classification import expected_calibration_error, hypothesis_correct
from recitative.score.wer import ErrorCounts, align, score
from recitative.stage import Array, Padded

LM_WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)
WORD_BONUSES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
FIRST_LM_WEIGHT = 0.5  # with which the prior weights are tried
PRIOR_WEIGHTS = (0.0, 0.2, 0.4, 0.6)
RAREST = 1e-5  # least mean probability of a token
FOLDS = 4  # of the dev set, to judge the calibration on words it was not fitted to


@dataclass(frozen=True)
class DevOutputs:
    """A network's output for a dev set: log probabilities (T, V) and reference of each utterance, and log probabilities
    of recordings without speech."""

    log_probs: dict[str, Array]
    refs: dict[str, str]
    non_speech: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuned:
    """settings, language: to be stored in the model; trials: (lm_weight, word_bonus) -> errors; prior_trials:
    prior_weight -> errors, with ``FIRST_LM_WEIGHT`` and no bonus."""

    settings: DecodeSettings
    language: Language
    trials: Mapping[tuple[float, float], ErrorCounts]
    prior_trials: Mapping[float, ErrorCounts]
    without_lm: ErrorCounts
    ece_before: float
    ece_after: float

    @property
    def chosen(self) -> ErrorCounts:
        return self.trials[self.settings.lm_weight, self.settings.word_bonus]


def network_outputs(
    transcriber: Transcriber, data_dir: Path, advance: Advance = lambda done, total: None
) -> DevOutputs:
    """Run the network over a data directory. Raises DataError for utterances without text or of another rate."""
    utterances = DataDirectory.read(data_dir).utterances
    silent = [u.utt_id for u in utterances if not u.text]
    if silent:
        raise DataError(f"{data_dir}/text: '{silent[0]}'", "has no text", "a transcript", "add it")
    by_length = sorted(utterances, key=lambda u: audio_duration_s(u, transcriber.sample_rate))
    found: dict[str, Array] = {}
    for batch, samples in read_batches(by_length):
        found |= {u.utt_id: row for u, row in zip(batch, transcriber.log_probs(samples), strict=True)}
        advance(len(found), len(by_length))
    noises = non_speech(transcriber.sample_rate)
    without_words = dict(zip(noises, transcriber.log_probs(list(noises.values())), strict=True))
    return DevOutputs(found, {u.utt_id: u.text or "" for u in utterances}, without_words)


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
    """Try all weights, choose some, and calibrate the confidences of their words. The priors are those of dev's audio.

    Without a language model its weight is not tried. ``advance(done, total)`` counts trials.
    """
    start = transcriber.settings.decode.model_copy(
        update={"kind": "beam", "lm_weight": 0.0, "word_bonus": 0.0, "prior_weight": 0.0}
    )
    bare = replace(language, calibrator=None, priors=priors_of(dev.log_probs.values()))
    tree = LexiconTree(language.lexicon, transcriber.timed.table) if language.lexicon else None  # for all trials
    weights = LM_WEIGHTS if language.ngram else (0.0,)
    total = len(weights) * len(WORD_BONUSES) + len(PRIOR_WEIGHTS)
    done = itertools.count(1)

    def errors(**chosen: float) -> ErrorCounts:
        found = decode(transcriber, start.model_copy(update=chosen), bare, dev, tree)
        advance(next(done), total)
        return _errors(found, dev)

    lm_weight = FIRST_LM_WEIGHT if language.ngram else 0.0
    prior_trials = {prior: errors(lm_weight=lm_weight, prior_weight=prior) for prior in PRIOR_WEIGHTS}
    _, prior_weight = _best({(0.0, prior): found for prior, found in prior_trials.items()}, (0.0,), PRIOR_WEIGHTS)
    trials = {
        (weight, bonus): errors(lm_weight=weight, word_bonus=bonus, prior_weight=prior_weight)
        for weight in weights
        for bonus in WORD_BONUSES
    }
    lm_weight, word_bonus = _best(trials, weights, WORD_BONUSES)
    without_lm = _errors(decode(transcriber, start, replace(bare, ngram=None), dev, tree), dev)
    settings = start.model_copy(update={"lm_weight": lm_weight, "word_bonus": word_bonus, "prior_weight": prior_weight})
    results = decode(transcriber, settings, bare, dev, tree)
    results |= decode(transcriber, settings, bare, replace(dev, log_probs=dev.non_speech), tree)
    calibrator, before, after = calibrate(results, dev.refs | dict.fromkeys(dev.non_speech, ""))
    return Tuned(settings, replace(bare, calibrator=calibrator), trials, prior_trials, without_lm, before, after)


def priors_of(log_probs: Iterable[Array]) -> tuple[float, ...]:
    """ln of the mean probability of each token, over all frames of log probabilities (T, V)."""
    frames = np.concatenate(list(log_probs)).astype(np.float64)
    return tuple(np.log(np.maximum(np.exp(frames).mean(0), RAREST)).round(4).tolist())


def decode(
    transcriber: Transcriber,
    settings: DecodeSettings,
    language: Language,
    dev: DevOutputs,
    tree: LexiconTree | None = None,
) -> dict[str, DecodingResult]:
    """Decode every utterance with these settings. tree: of the language's lexicon."""
    decoder = new_decoder(settings, transcriber.timed, language, tree=tree)
    return {utt_id: decoder.finish(decoder.step(rows, decoder.start())) for utt_id, rows in dev.log_probs.items()}


def calibrate(found: Mapping[str, DecodingResult], refs: Mapping[str, str]) -> tuple[Calibrator, float, float]:
    """A calibrator fitted to all words, and the expected calibration error before it and after.

    The error after is that of calibrators fitted to the other words, ``FOLDS`` parts of whole utterances.
    """
    rows: list[tuple[float, ...]] = []
    marks: list[bool] = []
    parts: list[int] = []
    for number, (name, result) in enumerate(sorted(found.items())):
        rows += [evidence.features() for evidence in result.evidence]
        marks += hypothesis_correct(align(refs[name].split(), [word.word for word in result.words]))
        parts += [number % FOLDS] * len(result.words)
    if not marks:
        raise DataError("dev set", "no word was recognized", "at least one", "train the model further")
    features, correct, folds = np.array(rows), np.array(marks), np.array(parts)
    posteriors = 1.0 / (1.0 + np.exp(-features[:, 0]))
    judged = np.zeros(len(correct))
    for fold in range(FOLDS):
        held = folds == fold
        if held.any() and not held.all():
            judged[held] = Calibrator.fit(features[~held], correct[~held], FEATURES).apply(features[held])
    before, after = (expected_calibration_error(values, correct) for values in (posteriors, judged))
    return Calibrator.fit(features, correct, FEATURES), before, after


def _errors(found: Mapping[str, DecodingResult], dev: DevOutputs) -> ErrorCounts:
    return score(dev.refs, {utt_id: result.text for utt_id, result in found.items()}).total


def _best(
    trials: Mapping[tuple[float, float], ErrorCounts], firsts: Sequence[float], seconds: Sequence[float]
) -> tuple[float, float]:
    """The best pair of the grid ``firsts`` x ``seconds``."""

    def judged(pair: tuple[float, float]) -> float:
        i, j = firsts.index(pair[0]), seconds.index(pair[1])
        around = [
            trials[firsts[a], seconds[b]].errors
            for a in range(max(i - 1, 0), min(i + 2, len(firsts)))
            for b in range(max(j - 1, 0), min(j + 2, len(seconds)))
            if (a, b) != (i, j)
        ]
        return trials[pair].errors + sum(around) / len(around)

    return min(trials, key=lambda pair: (judged(pair), abs(pair[1]), pair[0]))


# Rescoring of n-best lists.

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)


@runtime_checkable
class TextScorer(Protocol):
    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """ln P of each sentence, its end included."""
        ...


@dataclass(frozen=True)
class Candidate:
    """One alternative with its scores, in natural logarithms; 0 without that model."""

    text: str
    tokens: str
    score: float
    attention: float = 0.0
    language: float = 0.0


@dataclass(frozen=True)
class Weights:
    attention: float = 0.0
    language: float = 0.0

    def best(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate with the best score; of equals the first."""
        return max(candidates, key=lambda c: c.score + self.attention * c.attention + self.language * c.language)


@dataclass(frozen=True)
class _Row:
    text: str
    tokens: str
    score: float


@dataclass(frozen=True)
class _Line:
    utt_id: str
    nbest: list[_Row]


def read_nbest(path: Path) -> dict[str, list[Candidate]]:
    """Read the output of ``decode --nbest``. Raises DataError that names the line for anything else."""
    found: dict[str, list[Candidate]] = {}
    remedy = "make it with 'recitative decode --nbest 20'"
    for where, value in read_json_lines(path, "an n-best file", remedy):
        entry = checked(_Line, value, where, "a line of 'recitative decode --nbest'", remedy)
        found[entry.utt_id] = [Candidate(row.text, row.tokens, row.score) for row in entry.nbest]
    return found


def add_scores(
    nbest: Mapping[str, Sequence[Candidate]],
    data_dir: Path,
    recognizer: RecognizerModel | None,
    lm: TextScorer | None,
    advance: Advance = lambda done, total: None,
) -> dict[str, list[Candidate]]:
    """The candidates with the scores of the attention decoder and the language model; either may be missing.

    Raises UsageError for a recognizer without a decoder, DataError for an utterance that the directory lacks.
    """
    utterances = {u.utt_id: u for u in DataDirectory.read(data_dir).utterances}
    if missing := sorted(nbest.keys() - utterances.keys()):
        found = f"has no utterance '{missing[0]}'"
        raise DataError(str(data_dir), found, "those of the n-best file", "correct the path")
    if recognizer:
        require_decoder(recognizer)
        extractor = FeatureExtractor(recognizer.settings.features)
    scored: dict[str, list[Candidate]] = {}
    for utt_id, candidates in nbest.items():
        attention = [0.0] * len(candidates)
        if recognizer:
            encoded = encode_utterance(recognizer, extractor.compute(read_utterance(utterances[utt_id])))
            labels = [recognizer.tokens.encode(c.tokens) for c in candidates]
            attention = attention_scores(recognizer, encoded, labels).tolist()
        language = lm.score_texts([c.text for c in candidates]) if lm else [0.0] * len(candidates)
        scored[utt_id] = [
            replace(c, attention=a, language=b) for c, a, b in zip(candidates, attention, language, strict=True)
        ]
        advance(len(scored), len(nbest))
    return scored


def tune_weights(
    nbest: Mapping[str, Sequence[Candidate]], refs: Mapping[str, str], *, attention: bool, lm: bool
) -> tuple[Weights, dict[Weights, ErrorCounts]]:
    """The pair with the fewest errors, the smaller of equals, and the errors of all."""
    pairs = itertools.product(WEIGHTS if attention else (0.0,), WEIGHTS if lm else (0.0,))
    trials = {w: score(refs, best_texts(nbest, w)).total for w in itertools.starmap(Weights, pairs)}
    return min(trials, key=lambda w: (trials[w].errors, w.attention + w.language)), trials


def best_texts(nbest: Mapping[str, Sequence[Candidate]], weights: Weights) -> dict[str, str]:
    return {utt_id: weights.best(candidates).text if candidates else "" for utt_id, candidates in nbest.items()}


def oracle_errors(nbest: Mapping[str, Sequence[Candidate]], refs: Mapping[str, str]) -> ErrorCounts:
    """Errors of the alternative nearest to each reference: the limit of any rescoring."""
    nearest: dict[str, str] = {}
    for utt_id, candidates in nbest.items():
        texts = [c.text for c in candidates] or [""]
        nearest[utt_id] = min(texts, key=lambda text: score({"": refs[utt_id]}, {"": text}).total.errors)
    return score(refs, nearest).total


def to_text(texts: Mapping[str, str]) -> str:
    """A Kaldi text table."""
    return "".join(f"{utt_id} {text}".rstrip() + "\n" for utt_id, text in sorted(texts.items()))


def refs_of(data_dir: Path) -> dict[str, str]:
    return {u.utt_id: u.text or "" for u in DataDirectory.read(data_dir).utterances}


MOST_AT_ONCE = 64  # hypotheses scored together; bounds the memory


def encode_utterance(recognizer: RecognizerModel, features: Array) -> Padded[Tensor]:
    """Features (T, C) float32 -> the encoder's output (1, T', H)."""
    device = next(recognizer.network.parameters()).device
    x = Padded(torch.from_numpy(features)[None].to(device), torch.tensor([len(features)], device=device))
    with torch.inference_mode():
        return recognizer.encode(x)


def attention_scores(
    recognizer: RecognizerModel, encoded: Padded[Tensor], hypotheses: Sequence[Sequence[int]]
) -> Array:
    """ln P(labels, end | audio) in nats, (N,) float64, of N label sequences; a sequence may be empty.

    encoded: of one utterance

    Raises UsageError for a recognizer without a decoder.
    """
    decoder = require_decoder(recognizer)
    scores = np.zeros(len(hypotheses))
    # Sorted by length, so that little is computed for padding.
    order = np.argsort([len(labels) for labels in hypotheses], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), MOST_AT_ONCE):
            chosen = order[start : start + MOST_AT_ONCE]
            labels = to_device(padded_labels([hypotheses[i] for i in chosen]), encoded.data.device)
            scores[chosen] = decoder.score(encoded, labels).double().cpu().numpy()
    return scores


def require_decoder(recognizer: RecognizerModel) -> AttentionDecoder:
    """Raises UsageError without one."""
    if recognizer.decoder is None:
        raise UsageError(
            "this model has no attention decoder to rescore with; train one with model.attention.weight above 0, "
            "or decode without rescoring"
        )
    return recognizer.decoder


# int8, compared with float32.


class RecognizerCheck:
    """Word errors on a development set; see ``QuantizationCheck``."""

    rate = "WER"

    def __init__(self, model: RecognizerModel, dev: Path) -> None:
        self.model, self.dev = model, dev

    def inputs(self) -> Inputs:
        utterances, features = DataDirectory.read(self.dev).utterances, self.model.settings.features
        audio_durations_s(utterances, features.sample_rate)  # raises the errors of all recordings first
        extractor, device = FeatureExtractor(features), next(self.model.network.parameters()).device

        def batches() -> Iterator[Padded[Tensor]]:
            for _, samples in read_batches(utterances):
                yield to_device(pad_features([*map(extractor.compute, samples)], features.dim), device)

        return measure_inputs(self.model.network, batches())

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts:
        return word_errors(load_transcriber(content, threads=torch.get_num_threads()), self.dev, advance)
