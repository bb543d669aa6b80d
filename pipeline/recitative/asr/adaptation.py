"""Adaptation of a recognizer to a user's recordings: fine-tuning, new words, and a language model of their texts.

A work folder holds all intermediate results, so that a call with the same input resumes:

data/{train,dev,test}  test is for the score alone; dev selects epochs, decoding weights and int8 if it has enough words
conf.yaml, tokens.txt, lexicon.txt, exp/   settings and input of the training run, and the run
fit.json, made_from    how well each transcript fits its recording; the digest of the input

Transcripts that do not fit their recordings are found by forced alignment. A recognizer aligns a speaker that it does
not know badly, so each transcript is compared with those of a few other utterances on the same audio, which are
certainly wrong: a transcript that costs about as much is wrong, too.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from recitative.asr.alignment import pronounce_with
from recitative.asr.kind import RECOGNIZER, Language
from recitative.asr.network import RecognizerModel, new_transcriber
from recitative.asr.stream import Transcriber
from recitative.asr.task import average_best, average_with, take_last
from recitative.asr.tuning import network_outputs, tune
from recitative.atomic import update_text, write_text
from recitative.config import (
    AttentionSettings,
    DecodeSettings,
    DistillSettings,
    RecognizerData,
    Settings,
    TrainSettings,
    dump_settings,
    load_settings,
)
from recitative.data import select
from recitative.data.check import check_directory
from recitative.data.directory import DataDirectory
from recitative.decoding.hypotheses import Alternatives, align_words
from recitative.errors import DataError, Problem, UsageError, counted, raise_all
from recitative.features.extraction import audio_durations_s, read_batches
from recitative.lm.estimate import Sentences, best_weights, estimate, interpolate
from recitative.lm.ngram import NgramModel, StoredNgram
from recitative.model.folder import load_model
from recitative.reading import parsed_json, read_text
from recitative.stage import Array
from recitative.text.tokens import Lexicon, spelling_of
from recitative.train.run import train_model

Advance = Callable[[int, int], None]
Bar = Callable[[str], AbstractContextManager[Advance]]  # title -> progress bar of a step
Mismatches = Literal["stop", "leave-out", "keep"]

MIN_AUDIO_S = 60.0
TEST_SHARE, DEV_SHARE, MIN_HELD_OUT = 0.1, 0.05, 3  # of the utterances; at least so many in each
ENOUGH_WORDS = 300  # of dev, to choose epochs and decoding weights; with fewer the best ones are best by chance
LM_ORDER, LM_FOLDS = 3, 5
MIN_LM_WEIGHT = 0.01  # of each n-gram model in the mixture


@dataclass(frozen=True)
class Schedule:
    """Fine-tuning for a corpus size."""

    hours: float  # maximum
    epochs: int
    rate: float  # peak of the learning rate
    batch_s: float


# The first was tried on two speakers of dev, 5 minutes of each: recipes/english/README.md, "Adaptation".
SCHEDULES = (
    Schedule(0.1, 10, 5e-4, 10),
    Schedule(0.5, 10, 5e-4, 15),
    Schedule(2.0, 10, 5e-4, 30),
    Schedule(10.0, 10, 5e-4, 60),
    Schedule(math.inf, 6, 6e-4, 120),
)


def fine_tuning_settings(base: Settings, hours: float) -> Settings:
    """The base's features, network and augmentation, with the schedule for this many hours of audio."""
    schedule = next(row for row in SCHEDULES if hours <= row.hours)
    core, old = base.model.recurrent, base.train
    train = TrainSettings(
        epochs=schedule.epochs,
        learning_rate=schedule.rate,
        batch_s=schedule.batch_s,
        max_duration_s=60.0,
        warmup_steps=max(1, round(schedule.epochs * hours * 3600 / schedule.batch_s / 10)),
        weight_decay=old.weight_decay,
        clip_norm=old.clip_norm,
        bf16=core.hidden >= 256,  # small networks are faster without on a CPU
    )
    augment = base.augment.model_copy(update={"noise_dir": None, "reverb_dir": None})  # folders of another machine
    model = base.model.model_copy(update={"attention": AttentionSettings()})  # a file has no decoder
    return base.model_copy(update={"augment": augment, "model": model, "train": train, "distill": DistillSettings()})


@dataclass(frozen=True)
class Base:
    """The recognizer to adapt: its model, its transcriber, and its folder or file."""

    model: RecognizerModel
    transcriber: Transcriber
    path: Path


@dataclass(frozen=True)
class Material:
    """folder:  a data directory
    texts:   further sentences
    lexicon: of the base, with all new words that have a pronunciation; None = the base has none
    """

    folder: Path
    texts: Sequence[Sentences] = ()
    lexicon: Lexicon | None = None


@dataclass(frozen=True)
class Adapted:
    """model: ready to export; dev: data directory to export with, whose utterances the model may have been trained on;
    sizes: utterances of train, dev and test; hours: of training audio"""

    model: RecognizerModel
    dev: Path
    sizes: Mapping[str, int]
    hours: float


def adapt(
    base: Base,
    material: Material,
    work: Path,
    bar: Bar,
    *,
    mismatches: Mismatches = "stop",
    overrides: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
    quiet: bool = False,
) -> Adapted:
    """Adapt a recognizer, or resume. The caller is the only writer of ``work``.

    mismatches: utterances whose transcript does not fit are an error, left out, or kept
    overrides:  settings of the training
    tell:       called with messages for the user
    Raises DataError for too little audio, whatever 'recitative check' finds, text that the base cannot spell, and
    mismatches; UsageError if ``work`` holds an adaptation of something else.
    """
    data, origin = DataDirectory.read(material.folder), _digest_of(base.path)
    require_spelled(base.model, data, material)
    seconds = _checked_audio(base.model, data, material, bar)
    if mismatches != "keep" and (wrong := _mismatches(base.transcriber, data, material, work, origin, bar)):
        if mismatches == "stop":
            raise DataError.collect(mismatch_problems(base.transcriber, data, material.folder, wrong))
        tell(f"left out, since the text is not what is heard: {', '.join(wrong)}")
        data = data.where(lambda u: u.utt_id not in wrong)
    parts = divide(data, material.folder)
    spoken = sorted({word for name in ("train", "dev") for text in parts[name].texts.values() for word in text.split()})
    lexicon = material.lexicon.only(spoken) if material.lexicon and base.model.tokens.unit == "phone" else None
    texts = {name: part.texts for name, part in parts.items()}
    _claim(work, [origin, texts, seconds, lexicon.to_text() if lexicon else ""])
    hours = sum(seconds[utt_id] for utt_id in texts["train"]) / 3600
    _fine_tune(base, parts, lexicon, work, hours, overrides, quiet)
    if _has_enough_words(parts["dev"]):
        dev = work / "data/dev"
        with bar("average the best epochs"):
            average_best(work / "exp")
        trained = load_model(work / "exp/model", RECOGNIZER)
    else:  # the best on a few sentences is best by chance; what was trained on serves to compare int8 with float32
        dev = work / "data/train_and_dev"
        data.where(lambda u: u.utt_id not in parts["test"].utt2spk).write(dev)
        take_last(work / "exp")
        trained = load_model(work / "exp/model", RECOGNIZER)
        average_with(trained, base.model)
    decode, language = _with_language(base.model, trained, parts, spoken, material, work, bar)
    settings = trained.settings.model_copy(update={"decode": decode})
    model = replace(trained, settings=settings, language=language)
    return Adapted(model, dev, {name: len(part.utterances) for name, part in parts.items()}, hours)


def require_spelled(base: RecognizerModel, data: DataDirectory, material: Material) -> None:
    """Raises one DataError for all transcripts and sentences without words, or with what the base cannot spell."""
    said = [(f"{material.folder}/text: '{u.utt_id}'", u.text or "") for u in data.utterances]
    said += [(f"{text.name}: '{line[:60]}'", line) for text in material.texts for line in text.lines]
    spelling = spelling_of(base.tokens, material.lexicon)
    problems = [Problem(place, "has no words", "at least one", "add them") for place, text in said if not text.strip()]
    allowed, remedy = f"only the {spelling.holds}s of the base", "spell it otherwise, or leave it out"
    for place, text in said:
        if unknown := spelling.unknown(text):
            problems.append(Problem(place, f"has {', '.join(map(repr, unknown))}", allowed, remedy))
    raise_all(problems)


def _checked_audio(base: RecognizerModel, data: DataDirectory, material: Material, bar: Bar) -> dict[str, float]:
    """Seconds of each utterance. Raises one DataError for all that 'recitative check' finds."""
    settings, spelling = base.settings, spelling_of(base.tokens, material.lexicon)
    with bar("check audio") as show:
        report = check_directory(
            material.folder, settings.features, settings.model.front_end, spelling, on_progress=show
        )
    raise_all(report.problems)
    if (total_s := report.statistics.total_s) < MIN_AUDIO_S:
        allowed = f"at least {MIN_AUDIO_S:g} s"
        raise DataError(str(material.folder), f"has {total_s:.1f} s of audio", allowed, "record more")
    lengths_s = audio_durations_s(data.utterances, settings.features.sample_rate)
    return dict(zip(data.utt2spk, lengths_s.tolist(), strict=True))


def divide(data: DataDirectory, where: Path) -> dict[str, DataDirectory]:
    """train, dev and test by utterance, always the same. Raises DataError if too few would be left to train on."""
    total = len(data.utterances)
    test, dev = (max(MIN_HELD_OUT, round(share * total)) for share in (TEST_SHARE, DEV_SHARE))
    if total < 2 * (test + dev):
        allowed = f"at least {4 * MIN_HELD_OUT}, of which {2 * MIN_HELD_OUT} are held out"
        raise DataError(
            str(where), f"has {counted(total, 'utterance')}", allowed, "cut long recordings, or record more"
        )
    held = select.drawn(data, test + dev, seed=1)
    tested = select.drawn(held, test, seed=2)
    return {
        "train": data.where(lambda u: u.utt_id not in held.utt2spk),
        "dev": held.where(lambda u: u.utt_id not in tested.utt2spk),
        "test": tested,
    }


def _fine_tune(
    base: Base,
    parts: Mapping[str, DataDirectory],
    lexicon: Lexicon | None,
    work: Path,
    hours: float,
    overrides: Sequence[str],
    quiet: bool,
) -> None:
    """Train into ``work/exp``, or resume."""
    for name, part in parts.items():
        part.write(work / "data" / name)
    update_text(work / "tokens.txt", base.model.tokens.to_text())
    if lexicon:
        update_text(work / "lexicon.txt", lexicon.to_text())
    update_text(work / "conf.yaml", dump_settings(fine_tuning_settings(base.model.settings, hours)))
    data = RecognizerData(
        train=work / "data/train",
        dev=work / "data/dev",
        tokens=work / "tokens.txt",
        lexicon=work / "lexicon.txt" if lexicon else None,
        init=base.path,
    )
    train_model(RECOGNIZER, load_settings(work / "conf.yaml", overrides), data, work / "exp", quiet=quiet)


def _with_language(
    base: RecognizerModel,
    trained: RecognizerModel,
    parts: Mapping[str, DataDirectory],
    spoken: Sequence[str],
    material: Material,
    work: Path,
    bar: Bar,
) -> tuple[DecodeSettings, Language]:
    """Decoding weights, and the base's lexicon with the words of transcripts and texts, with the mixed language model.

    Weights and calibration stay those of the base if dev is too short to tune them.
    """
    lexicon = None
    if base.lexicon and material.lexicon:
        written = {word for text in material.texts for word in text.words}
        lexicon = material.lexicon.only([*base.lexicon.entries, *sorted({*spoken, *written})])
    own = [list(parts["train"].texts.values()), *(text.lines for text in material.texts)]
    with bar("mix language models"):
        mixed = mix_language_models(base.language.lm, own, list(parts["dev"].texts.values()))
    language = Language(lexicon, StoredNgram(mixed.to_text()))
    if base.language.lm and not _has_enough_words(parts["dev"]):
        return base.settings.decode, replace(language, calibrator=base.calibrator, priors=base.priors)
    transcriber = new_transcriber(trained)
    with bar("listen to dev") as show:
        outputs = network_outputs(transcriber, work / "data/dev", show)
    with bar("try weights") as show:
        tuned = tune(transcriber, language, outputs, show)
        if tuned.without_lm.errors < tuned.chosen.errors:  # little text gives a bad language model
            tuned = tune(transcriber, replace(language, ngram=None), outputs, show)
    return tuned.settings, tuned.language


def _has_enough_words(dev: DataDirectory) -> bool:
    return sum(len(text.split()) for text in dev.texts.values()) >= ENOUGH_WORDS


def mix_language_models(base: NgramModel | None, own: Sequence[Sequence[str]], dev: Sequence[str]) -> NgramModel:
    """An n-gram model of each text, interpolated with the base's.

    The weights maximize the likelihood of the first text, of the transcripts, and of ``dev``, which alone is too short.
    Each fifth of the transcripts, of successive sentences, is judged by a model of the others: a sentence resembles its
    neighbors more than what will be said later does.
    """
    tables = [estimate(lines, LM_ORDER).table for lines in own] + ([base.table()] if base else [])
    if len(tables) == 1:
        return NgramModel.of(tables[0])
    transcripts, *others = [*map(NgramModel.of, tables[: len(own)]), *([base] if base else [])]
    judged: list[tuple[Sequence[NgramModel], Sequence[str]]] = [([transcripts, *others], dev)]
    bounds = [len(own[0]) * part // LM_FOLDS for part in range(LM_FOLDS + 1)]
    for begin, end in itertools.pairwise(bounds):
        if rest := [*own[0][:begin], *own[0][end:]]:
            judged.append(([NgramModel.of(estimate(rest, LM_ORDER).table), *others], own[0][begin:end]))
    weights = [max(weight, MIN_LM_WEIGHT) for weight in best_weights(judged)]
    return NgramModel.of(interpolate(tables, [weight / sum(weights) for weight in weights]))


def _mismatches(
    transcriber: Transcriber, data: DataDirectory, material: Material, work: Path, base: str, bar: Bar
) -> tuple[str, ...]:
    """The ids of mismatched utterances, measured once for the same input. base: its digest"""
    language = replace(transcriber.language, lexicon=material.lexicon)
    aligner = Transcriber(transcriber.network, transcriber.settings, transcriber.tokens, language)
    path, key = work / "fit.json", _digest([base, data.texts, [u.recording_path for u in data.utterances]])
    known = parsed_json(read_text(path), str(path), "how well transcripts fit") if path.exists() else None
    if not isinstance(known, dict) or known.get("of") != key:
        with bar("compare audio and text") as show:
            fit = measure_fit(aligner, data, show)
        known = {"of": key, "fit": {utt_id: (one.own, one.other) for utt_id, one in fit.items()}}
        write_text(path, json.dumps(known) + "\n")
    return mismatched({utt_id: Fit(*pair) for utt_id, pair in known["fit"].items()}, material.folder)


def _claim(work: Path, content: object) -> None:
    """Store the digest of the input. Raises UsageError for a folder of other input."""
    path, digest = work / "made_from", _digest(content)
    if path.exists() and read_text(path).strip() != digest:
        raise UsageError(
            f"{work}: holds an adaptation of other recordings, transcripts or base; name another folder with --work, "
            "or remove this one"
        )
    update_text(path, f"{digest}\n")


def _digest_of(model: Path) -> str:
    files: Iterable[Path] = [model] if model.is_file() else sorted(path for path in model.iterdir() if path.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


# Transcripts that do not fit their recordings.

OTHERS = 3  # transcripts of other utterances to compare with
NEARLY = 0.85  # fraction of the best other transcript's cost from which a transcript may be wrong
HOPELESS = 0.8  # ratio of the median costs from which all transcripts are shifted, or in an unknown language


@dataclass(frozen=True)
class Fit:
    """Cost of a transcript: nats per label by which its best path is below the likeliest path; inf: too few frames."""

    own: float
    other: float  # the lowest cost of some other utterances' transcripts


def measure_fit(
    transcriber: Transcriber, data: DataDirectory, advance: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Fit]:
    """The fit of each utterance. The transcriber must know all words. ``advance(done, total)`` counts utterances."""
    pronounce = pronounce_with(transcriber)
    ways = {text: tuple(pronounce(word) for word in text.split()) for text in data.texts.values()}
    by_size = sorted(data.utterances, key=lambda u: (_num_labels(ways[u.text or ""]), u.utt_id))
    found: dict[str, Fit] = {}
    for batch, samples in read_batches(by_size):
        for utterance, log_probs in zip(batch, transcriber.log_probs(samples), strict=True):
            number = len(found)
            near = sorted(range(len(by_size)), key=lambda place: (abs(place - number), place))
            texts = dict.fromkeys(by_size[place].text or "" for place in near)
            chosen = [text for text in texts if text != utterance.text][:OTHERS]
            others = [_cost(transcriber, log_probs, ways[text]) for text in chosen]
            own = _cost(transcriber, log_probs, ways[utterance.text or ""])
            found[utterance.utt_id] = Fit(own, min(others, default=math.inf))
        advance(len(found), len(by_size))
    return found


def mismatched(fit: Mapping[str, Fit], where: Path) -> tuple[str, ...]:
    """The sorted ids of utterances whose transcripts do not fit.

    Their cost is nearer to the median of other transcripts than to the median of the own ones, and not much lower than
    that of other transcripts on the same audio. Raises DataError if nearly none fits.
    """
    own, other = _median(one.own for one in fit.values()), _median(one.other for one in fit.values())
    if own >= HOPELESS * other:
        found = "the transcripts fit their recordings no better than each other's"
        remedy = "look for shifted lines, use a base of this language, or say --mismatches keep"
        raise DataError(str(where), found, "transcripts of what is said", remedy)
    limit = (own + other) / 2
    return tuple(sorted(name for name, one in fit.items() if one.own >= max(limit, NEARLY * one.other)))


def mismatch_problems(
    transcriber: Transcriber, data: DataDirectory, where: Path, found: Sequence[str]
) -> list[Problem]:
    """Their number, and for each its transcript and what was recognized."""
    count = f"transcripts that do not match their recording: {len(found)} of {len(data.utterances)}"
    remedy = "correct them, or say --mismatches leave-out, or keep if they are right"
    problems = [Problem(str(where), count, "none", remedy)]
    wrong = data.where(lambda u: u.utt_id in found).utterances
    for batch, samples in read_batches(wrong):
        for utterance, heard in zip(batch, transcriber.transcribe(samples), strict=True):
            said = f"is '{utterance.text}', but '{heard.text}' is heard"
            problems.append(Problem(f"{where}/text: '{utterance.utt_id}'", said))
    return problems


def _num_labels(ways: Sequence[Alternatives]) -> int:
    return sum(len(alternatives[0]) for alternatives in ways)


def _cost(transcriber: Transcriber, log_probs: Array, ways: Sequence[Alternatives]) -> float:
    try:
        path = align_words(log_probs, ways, separator=transcriber.tokens.space)
    except DataError:  # too few frames
        return math.inf
    return round((float(log_probs.max(-1).sum()) - path.log_prob) / _num_labels(ways), 4)


def _median(costs: Iterable[float]) -> float:
    finite = [cost for cost in costs if cost < math.inf]
    return median(finite) if finite else math.inf
