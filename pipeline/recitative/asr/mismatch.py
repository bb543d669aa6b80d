"""Transcripts that do not say what is heard, found by forced alignment.

A recognizer that knows a speaker badly aligns everything badly. So each transcript is compared with those of a few
other utterances on the same audio, which are wrong for sure: one that costs about as much as they do is wrong, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from recitative.asr.alignment import pronounce_with
from recitative.asr.stream import Transcriber
from recitative.data.directory import DataDirectory, Utterance
from recitative.decoding.alignment import Alternatives, align_words
from recitative.errors import DataError, Problem
from recitative.features.extraction import read_utterance
from recitative.stage import Array

BATCH = 16  # utterances
OTHERS = 3  # transcripts to compare with
NEARLY = 0.85  # a transcript that costs so much of the best of the others may be wrong
HOPELESS = 0.8  # of the medians: the transcripts of all are shifted, or in a language that the model does not know


@dataclass(frozen=True)
class Fit:
    """Nats per label by which the best path through a transcript is below the likeliest path; inf: too few frames."""

    own: float
    other: float  # of the best of some other utterances' transcripts


def measure_fit(
    transcriber: Transcriber, data: DataDirectory, advance: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Fit]:
    """Of each utterance. The transcriber must know all words. ``advance(done, total)`` counts utterances."""
    pronounce = pronounce_with(transcriber)
    ways = {text: tuple(pronounce(word) for word in text.split()) for text in data.texts.values()}
    by_size = sorted(data.utterances, key=lambda u: (_num_labels(ways[u.text or ""]), u.utt_id))
    found: dict[str, Fit] = {}
    for start in range(0, len(by_size), BATCH):
        group = by_size[start : start + BATCH]
        rows = transcriber.log_probs([read_utterance(u) for u in group])
        for number, (utterance, log_probs) in enumerate(zip(group, rows, strict=True), start=start):
            others = [_cost(transcriber, log_probs, ways[text]) for text in _other_texts(by_size, number)]
            own = _cost(transcriber, log_probs, ways[utterance.text or ""])
            found[utterance.utt_id] = Fit(own, min(others, default=math.inf))
        advance(len(found), len(by_size))
    return found


def mismatched(fit: Mapping[str, Fit], where: Path) -> tuple[str, ...]:
    """The ids of utterances whose transcripts do not fit, sorted: those nearer to the others' costs than to the own
    ones, by the medians, and not much better than others on the same audio. Raises DataError if nearly none fits."""
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
    """How many there are, and of each what is written and what is heard."""
    count = f"transcripts that do not match their recording: {len(found)} of {len(data.utterances)}"
    remedy = "correct them, or say --mismatches leave-out, or keep if they are right"
    problems = [Problem(str(where), count, "none", remedy)]
    wrong = data.where(lambda u: u.utt_id in found).utterances
    for start in range(0, len(wrong), BATCH):
        group = wrong[start : start + BATCH]
        for utterance, heard in zip(group, transcriber.transcribe([read_utterance(u) for u in group]), strict=True):
            said = f"is '{utterance.text}', but '{heard.text}' is heard"
            problems.append(Problem(f"{where}/text: '{utterance.utt_id}'", said))
    return problems


def _num_labels(ways: Sequence[Alternatives]) -> int:
    return sum(len(alternatives[0]) for alternatives in ways)


def _other_texts(utterances: Sequence[Utterance], number: int) -> list[str]:
    """Different texts, the nearest in the list first."""
    near = sorted(range(len(utterances)), key=lambda place: (abs(place - number), place))
    texts = dict.fromkeys(utterances[place].text or "" for place in near)
    return [text for text in texts if text != utterances[number].text][:OTHERS]


def _cost(transcriber: Transcriber, log_probs: Array, ways: Sequence[Alternatives]) -> float:
    try:
        path = align_words(log_probs, ways, separator=transcriber.tokens.space)
    except DataError:  # too few frames
        return math.inf
    return round((float(log_probs.max(-1).sum()) - path.log_prob) / _num_labels(ways), 4)


def _median(costs: Iterable[float]) -> float:
    finite = [cost for cost in costs if cost < math.inf]
    return median(finite) if finite else math.inf
