"""Forced alignment of a data directory, its files, and ``words.ctm``, word times that a data directory may contain.

words.ctm           NIST's time-marked words of all utterances, in seconds from the start of their utterance
<utt_id>.TextGrid   for Praat: a tier of words and one of tokens
alignment.jsonl     an object per line: utt_id, duration_s, log_prob, words, tokens
failed              utterances that could not be aligned, with the reason, one per line; only if there are any
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from recitative.asr.decoding import TimedToken
from recitative.asr.stream import Transcriber
from recitative.atomic import write_text, writes
from recitative.audio.files import Samples
from recitative.data.annotations import Tier
from recitative.data.annotations import textgrid as textgrid_of_tiers
from recitative.data.directory import DataDirectory, Utterance
from recitative.decoding.hypotheses import AlignedPath, Alternatives, align_words
from recitative.errors import DataError, Problem, raise_all
from recitative.features.extraction import BATCH, audio_duration_s, read_utterance
from recitative.reading import read_text, shown
from recitative.score.classification import Span
from recitative.text.tokens import SPACE, Word

Format = Literal["ctm", "textgrid", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

Pronounce = Callable[[str], Alternatives]
"""A word -> the label sequences of its pronunciations; none for an unknown word."""


@dataclass(frozen=True)
class AlignSummary:
    utterances: int  # number of aligned utterances
    audio_s: float  # their length
    seconds: float  # wall clock, audio reading and features included
    failed: tuple[Problem, ...]  # one for each of the others, in the order of their ids


@writes("output")
def align_directory(
    transcriber: Transcriber,
    data_folder: Path,
    output: Path,
    *,
    formats: Collection[Format] = FORMATS,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> AlignSummary:
    """Write the files named above in these ``formats`` to ``output``.

    ``advance(done, total)`` is called when utterances are finished.
    Utterances without text, with words that cannot be pronounced, or with bad or too short audio are skipped and listed
    in ``failed``. Raises DataError for a directory that cannot be read.
    """
    started = time.monotonic()
    data = DataDirectory.read(data_folder)
    failed: dict[str, Problem] = {}
    pronounce = pronounce_with(transcriber)
    tasks: list[_Task] = []
    for utterance in data.utterances:
        with _noting(failed, utterance.utt_id):
            tasks.append(_task(utterance, transcriber, pronounce, formats))
    tasks.sort(key=lambda task: (task.duration_s, task.utterance.utt_id))  # a batch is padded to one length
    found: dict[str, AlignedUtterance] = {}
    for start in range(0, len(tasks), BATCH):
        group = tasks[start : start + BATCH]
        found |= {aligned.utt_id: aligned for aligned in _align(transcriber, group, failed)}
        advance(len(found) + len(failed), len(data.utterances))
    in_order = [found[utt_id] for utt_id in sorted(found)]
    _write(output, in_order, formats, failed)
    audio_s = sum(aligned.duration_s for aligned in in_order)
    problems = tuple(problem for _, problem in sorted(failed.items()))
    return AlignSummary(len(in_order), audio_s, time.monotonic() - started, problems)


def pronounce_with(transcriber: Transcriber) -> Pronounce:
    """Pronunciations by the model's lexicon for phones; else the tokens of each word."""
    tokens, lexicon = transcriber.tokens, transcriber.language.lexicon
    if tokens.unit == "phone" and lexicon:
        return lambda word: lexicon.pronunciations(word, tokens)
    return lambda word: (tokens.encode(word),)


def pronunciations_of(words: Sequence[str], pronounce: Pronounce) -> tuple[Alternatives, ...]:
    """The label sequences of each word. Raises DataError for a word without any."""
    pronunciations = tuple(map(pronounce, words))
    for word, alternatives in zip(words, pronunciations, strict=True):
        if not alternatives:
            raise DataError(f"word '{word}'", "has no pronunciation", "", "add it to the lexicon")
    return pronunciations


@dataclass(frozen=True)
class _Task:
    utterance: Utterance
    words: tuple[str, ...]
    pronunciations: tuple[Alternatives, ...]  # of each word
    duration_s: float  # by the header


@contextmanager
def _noting(failed: dict[str, Problem], utt_id: str) -> Iterator[None]:
    """Record a DataError of this block as the utterance's own, and go on."""
    try:
        yield
    except DataError as error:
        problem, name = error.problems[0], f"utterance '{utt_id}'"
        where = problem.where
        if name not in where:
            where = name if where in ("", "alignment") else f"{name}, {where}"
        failed[utt_id] = replace(problem, where=where)


def _task(utterance: Utterance, transcriber: Transcriber, pronounce: Pronounce, formats: Collection[Format]) -> _Task:
    """Raises DataError for an id that names no file, and for text that is missing or cannot be pronounced."""
    if "textgrid" in formats and "/" in utterance.utt_id:
        found = "its id has a '/', so it names no TextGrid"
        raise DataError("", found, "ids without", "leave out --format textgrid")
    words = tuple((utterance.text or "").split())
    if not words:
        raise DataError("", "has no text", "at least one word", "transcribe it, or leave it out")
    pronunciations = pronunciations_of(words, pronounce)
    return _Task(utterance, words, pronunciations, audio_duration_s(utterance, transcriber.sample_rate))


def _align(transcriber: Transcriber, tasks: Sequence[_Task], failed: dict[str, Problem]) -> list[AlignedUtterance]:
    audio: list[tuple[_Task, Samples]] = []
    for task in tasks:
        with _noting(failed, task.utterance.utt_id):
            audio.append((task, read_utterance(task.utterance)))
    if not audio:
        return []
    rows = transcriber.log_probs([samples for _, samples in audio])
    found: list[AlignedUtterance] = []
    for (task, samples), log_probs in zip(audio, rows, strict=True):
        with _noting(failed, task.utterance.utt_id):
            path = align_words(log_probs, task.pronunciations, separator=transcriber.tokens.space)
            words = spoken_words(transcriber, task.words, path)
            tokens = transcriber.timed.tokens(path.runs)
            duration_s = len(samples) / transcriber.sample_rate
            utt_id, log_prob = task.utterance.utt_id, round(path.log_prob, 4)
            found.append(AlignedUtterance(utt_id, duration_s, log_prob, words, tokens))
    return found


def spoken_words(transcriber: Transcriber, words: Sequence[str], path: AlignedPath) -> tuple[SpokenWord, ...]:
    """The words with their times on the path."""
    spoken = []
    for word, aligned in zip(words, path.words, strict=True):
        tokens = [token for token in transcriber.timed.tokens(aligned.runs) if token.token != " "]
        confidence, log_prob = round(float(np.exp(aligned.log_prob)), 4), round(aligned.log_prob, 4)
        spoken.append(SpokenWord(word, tokens[0].start_s, tokens[-1].end_s, log_prob, confidence, aligned.alternative))
    return tuple(spoken)


def _write(
    output: Path, utterances: Sequence[AlignedUtterance], formats: Collection[Format], failed: Mapping[str, Problem]
) -> None:
    """Write the files, and remove those of an earlier run that no longer hold."""
    output.mkdir(parents=True, exist_ok=True)
    if "ctm" in formats:
        write_text(output / "words.ctm", "".join(map(ctm, utterances)))
    if "json" in formats:
        write_text(output / "alignment.jsonl", "".join(map(jsonl, utterances)))
    if "textgrid" in formats:
        for utterance in utterances:
            write_text(output / f"{utterance.utt_id}.TextGrid", textgrid(utterance))
    for utt_id in failed:
        if "/" not in utt_id:
            (output / f"{utt_id}.TextGrid").unlink(missing_ok=True)
    if failed:
        write_text(output / "failed", "".join(f"{problem}\n" for _, problem in sorted(failed.items())))
    else:
        (output / "failed").unlink(missing_ok=True)


# Output formats: CTM for NIST's tools, TextGrid for Praat, and JSON lines.


@dataclass(frozen=True)
class SpokenWord:
    word: str
    start_s: float  # start of its first label, in seconds from the start of the utterance
    end_s: float  # end of its last label
    log_prob: float  # mean over its frames, in nats
    confidence: float  # the same as a probability, 0..1: the geometric mean
    pronunciation: int  # number of the spoken pronunciation, from 0


@dataclass(frozen=True)
class AlignedUtterance:
    utt_id: str
    duration_s: float
    log_prob: float  # of the likeliest path, in nats
    words: tuple[SpokenWord, ...]
    tokens: tuple[TimedToken, ...]  # spaces included


def ctm(utterance: AlignedUtterance) -> str:
    """NIST's time-marked words: utterance, channel, start, duration, word, confidence."""
    return "".join(
        f"{utterance.utt_id} 1 {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.word} {word.confidence:.4f}\n"
        for word in utterance.words
    )


def jsonl(utterance: AlignedUtterance) -> str:
    """One object on one line, with the names of the dataclasses."""
    return json.dumps(asdict(utterance), ensure_ascii=False) + "\n"


def textgrid(utterance: AlignedUtterance) -> str:
    """A TextGrid for Praat with two tiers, words and tokens.

    It ends with the last token if the frames reach beyond the audio. The space is ``<space>``, as in token tables.
    """
    words = tuple((word.start_s, word.end_s, word.word) for word in utterance.words)
    tokens = tuple((token.start_s, token.end_s, token.token.strip() or SPACE) for token in utterance.tokens)
    end_s = max([utterance.duration_s, *(stop_s for _, stop_s, _ in tokens)])
    return textgrid_of_tiers([Tier("words", words), Tier("tokens", tokens)], end_s)


# Word times of a data directory, from DATA/words.ctm, NIST's time-marked words:
#
#     utterance channel start_s duration_s word [confidence]
#
# with times from the start of the utterance, as 'recitative align' writes them.

NAME = "words.ctm"
COLUMNS = "utterance channel start_s duration_s word [confidence]"
REMEDY = "correct it, or take the file away"


def read_ctm(path: Path) -> dict[str, list[Word]]:
    """utt_id -> its words in the order of their times, with a confidence of 1 where none is written.

    Raises one DataError for all lines that cannot be read.
    """
    found: dict[str, list[Word]] = defaultdict(list)
    problems: list[Problem] = []
    for number, line in enumerate(read_text(path, "a word and its times a line").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            utt_id, _, start, duration, word, *confidence = line.split()
            start_s, end_s = float(start), float(start) + float(duration)
            sure = float(confidence[0]) if confidence else 1.0
            if not (0 <= start_s <= end_s < math.inf and 0 <= sure <= 1 and len(confidence) < 2):
                raise ValueError
            found[utt_id].append(Word(word, start_s, end_s, sure))
        except ValueError:
            problems.append(
                Problem(f"{path}:{number}", f"'{shown(line, 60)}' is no word with its time", COLUMNS, REMEDY)
            )
    raise_all(problems)
    return {utt_id: sorted(words, key=lambda word: (word.start_s, word.end_s)) for utt_id, words in found.items()}


def read_word_times(folder: Path, utterances: Iterable[Utterance]) -> dict[str, list[Span]]:
    """utt_id -> when each word of its transcript is said; without the utterances that the file lacks, and empty where
    there is none.

    Raises one DataError for all lines that cannot be read, or for all utterances of other words than their transcript.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    words = read_ctm(path)
    known = [utterance for utterance in utterances if utterance.utt_id in words]
    problems: list[Problem] = []
    for utterance in known:
        if (said := " ".join(word.word for word in words[utterance.utt_id])) != utterance.text:
            found = f"utterance '{utterance.utt_id}' says '{_shortened(said)}'"
            problems.append(Problem(str(path), found, f"its transcript, '{_shortened(utterance.text or '')}'", REMEDY))
    raise_all(problems)
    return {u.utt_id: [(word.start_s, word.end_s) for word in words[u.utt_id]] for u in known}


def _shortened(text: str, size: int = 40) -> str:
    return text if len(text) <= size else f"{text[:size]}..."
