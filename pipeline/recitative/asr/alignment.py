"""Align a data directory: when each word of its transcripts is said, as a model hears it.

words.ctm           NIST's time-marked words of all utterances, in seconds from the start of their utterance
<utt_id>.TextGrid   for Praat: a tier of words and one of tokens
alignment.jsonl     an object a line: utt_id, duration_s, log_prob, words, tokens
failed              utterances that could not be aligned and why, one a line; only if there are any
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from recitative.asr.alignment_files import AlignedUtterance, SpokenWord, ctm, jsonl, textgrid
from recitative.asr.decoding import BATCH
from recitative.asr.transcriber import Transcriber
from recitative.atomic import write_text
from recitative.audio.files import Samples
from recitative.data.directory import DataDirectory, Utterance
from recitative.decoding.alignment import AlignedWord, Alternatives, align_words
from recitative.errors import DataError, Problem
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.lock import writes

Format = Literal["ctm", "textgrid", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)

Pronounce = Callable[[str], Alternatives]
"""A word -> the label sequences that it may be said as; none for a word that is not known."""


@dataclass(frozen=True)
class AlignSummary:
    utterances: int  # that were aligned
    audio_s: float  # theirs
    seconds: float  # wall clock, audio reading and features included
    failed: tuple[Problem, ...]  # why each of the others was not, in the order of their ids


@writes("output")
def align_directory(
    transcriber: Transcriber,
    data_folder: Path,
    output: Path,
    *,
    formats: Collection[Format] = FORMATS,
    pronounce: Pronounce | None = None,
    optional_space: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> AlignSummary:
    """Write the files named at the top, as far as ``formats`` asks for them, to ``output``.

    pronounce: how words are said; None as ``pronounce_with`` does. The space, if the table has one, stands
    between words; with ``optional_space`` it may be left out. ``advance(done, total)`` counts utterances.
    An utterance without text, with a word that cannot be written in tokens, or with audio that is bad or too short is
    left out and named in ``failed``. Raises DataError for a directory that cannot be read.
    """
    started = time.monotonic()
    data = DataDirectory.read(data_folder)
    failed: dict[str, Problem] = {}
    tasks = _tasks(data, transcriber, pronounce or pronounce_with(transcriber), formats, failed)
    found: dict[str, AlignedUtterance] = {}
    for start in range(0, len(tasks), BATCH):
        group = tasks[start : start + BATCH]
        found |= {aligned.utt_id: aligned for aligned in _align(transcriber, group, optional_space, failed)}
        advance(len(found) + len(failed), len(data.utterances))
    in_order = [found[utt_id] for utt_id in sorted(found)]
    _write(output, in_order, formats)
    _write_failed(output, failed)
    audio_s = sum(aligned.duration_s for aligned in in_order)
    problems = tuple(problem for _, problem in sorted(failed.items()))
    return AlignSummary(len(in_order), audio_s, time.monotonic() - started, problems)


def pronounce_with(transcriber: Transcriber) -> Pronounce:
    """Phones by the model's lexicon; else every word as its letters, its best pieces, or, in a table of words, as its
    one label."""
    tokens, lexicon = transcriber.tokens, transcriber.language.lexicon
    if tokens.unit == "phone" and lexicon:
        return lambda word: lexicon.pronunciations(word, tokens)
    return lambda word: (tokens.encode(word),)


@dataclass(frozen=True)
class _Task:
    utterance: Utterance
    words: tuple[str, ...]
    ways: tuple[Alternatives, ...]  # of saying each word
    duration_s: float  # by the header


@contextmanager
def _noting(failed: dict[str, Problem], utt_id: str) -> Iterator[None]:
    """A DataError in this block becomes the utterance's own, and the others go on."""
    try:
        yield
    except DataError as error:
        problem = error.problems[0]
        failed[utt_id] = replace(problem, where=_place(utt_id, problem.where))


def _place(utt_id: str, where: str) -> str:
    """The utterance, and where else the error is."""
    name = f"utterance '{utt_id}'"
    if name in where:
        return where
    return name if where in ("", "alignment") else f"{name}, {where}"


def _tasks(
    data: DataDirectory,
    transcriber: Transcriber,
    pronounce: Pronounce,
    formats: Collection[Format],
    failed: dict[str, Problem],
) -> list[_Task]:
    """The shortest first: what is heard together is padded to one length."""
    tasks: list[_Task] = []
    for utterance in data.utterances:
        with _noting(failed, utterance.utt_id):
            if "textgrid" in formats:
                _require_file_name(utterance.utt_id)
            words = _words(utterance)
            ways = tuple(_ways(word, pronounce) for word in words)
            tasks.append(_Task(utterance, words, ways, audio_duration_s(utterance, transcriber.sample_rate)))
    return sorted(tasks, key=lambda task: (task.duration_s, task.utterance.utt_id))


def _require_file_name(utt_id: str) -> None:
    if "/" in utt_id:
        raise DataError("", "its id has a '/', so it names no TextGrid", "ids without", "leave out --format textgrid")


def _words(utterance: Utterance) -> tuple[str, ...]:
    words = tuple((utterance.text or "").split())
    if not words:
        raise DataError("", "has no text", "at least one word", "transcribe it, or leave it out")
    return words


def _ways(word: str, pronounce: Pronounce) -> Alternatives:
    ways = pronounce(word)
    if not ways:
        raise DataError(f"word '{word}'", "has no pronunciation", "", "add it to the lexicon")
    return ways


def _align(
    transcriber: Transcriber, tasks: Sequence[_Task], optional_space: bool, failed: dict[str, Problem]
) -> list[AlignedUtterance]:
    heard: list[tuple[_Task, Samples]] = []
    for task in tasks:
        with _noting(failed, task.utterance.utt_id):
            heard.append((task, read_utterance(task.utterance)))
    if not heard:
        return []
    rows = transcriber.log_probs([samples for _, samples in heard])
    found: list[AlignedUtterance] = []
    for (task, samples), log_probs in zip(heard, rows, strict=True):
        with _noting(failed, task.utterance.utt_id):
            duration_s = len(samples) / transcriber.sample_rate
            found.append(_aligned(transcriber, task, log_probs, duration_s, optional_space))
    return found


def _aligned(
    transcriber: Transcriber, task: _Task, log_probs: npt.NDArray[Any], duration_s: float, optional_space: bool
) -> AlignedUtterance:
    """log_probs: (T, V)."""
    path = align_words(log_probs, task.ways, separator=transcriber.tokens.space, separator_optional=optional_space)
    words = [_spoken(transcriber, word, said) for word, said in zip(task.words, path.words, strict=True)]
    tokens = transcriber.timed.tokens(path.runs)
    return AlignedUtterance(task.utterance.utt_id, duration_s, round(path.log_prob, 4), tuple(words), tokens)


def _spoken(transcriber: Transcriber, word: str, said: AlignedWord) -> SpokenWord:
    tokens = [token for token in transcriber.timed.tokens(said.runs) if token.token != " "]
    confidence = round(float(np.exp(said.log_prob)), 4)
    log_prob = round(said.log_prob, 4)
    return SpokenWord(word, tokens[0].start_s, tokens[-1].end_s, log_prob, confidence, said.alternative)


def _write(output: Path, utterances: Sequence[AlignedUtterance], formats: Collection[Format]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    if "ctm" in formats:
        write_text(output / "words.ctm", "".join(map(ctm, utterances)))
    if "json" in formats:
        write_text(output / "alignment.jsonl", "".join(map(jsonl, utterances)))
    if "textgrid" in formats:
        for utterance in utterances:
            write_text(output / f"{utterance.utt_id}.TextGrid", textgrid(utterance))


def _write_failed(output: Path, failed: dict[str, Problem]) -> None:
    """And remove what an earlier run left: a TextGrid of another alignment, or a list of failures that are mended."""
    for utt_id in failed:
        if "/" not in utt_id:
            (output / f"{utt_id}.TextGrid").unlink(missing_ok=True)
    if failed:
        write_text(output / "failed", "".join(f"{problem}\n" for _, problem in sorted(failed.items())))
    else:
        (output / "failed").unlink(missing_ok=True)
