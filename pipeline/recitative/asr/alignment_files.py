"""Aligned utterances, and how they are written: for NIST's tools, for Praat, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from recitative.asr.decoders import TimedToken
from recitative.text.tokens import SPACE

Span = tuple[float, float, str]  # start and end in seconds, text


@dataclass(frozen=True)
class SpokenWord:
    word: str
    start_s: float  # where its first label begins, in seconds from the start of the utterance
    end_s: float  # where its last label ends
    log_prob: float  # mean over its frames, in nats
    confidence: float  # the same as a probability, 0..1: the geometric mean
    pronunciation: int  # which of its label sequences was said, from 0


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
    """A long text file of Praat's ('TextGrid file formats' in its manual) with two tiers, words and tokens.

    Intervals without text fill the gaps, so that each tier covers the whole utterance. It ends with the last token if
    the frames reach beyond the audio. The space is ``<space>``, as in token tables.
    """
    words = [(word.start_s, word.end_s, word.word) for word in utterance.words]
    tokens = [(token.start_s, token.end_s, token.token.strip() or SPACE) for token in utterance.tokens]
    end_s = max([utterance.duration_s, *(stop_s for _, stop_s, _ in tokens)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end_s}"]
    lines += ["tiers? <exists>", "size = 2", "item []:"]
    lines += _tier(1, "words", words, end_s)
    lines += _tier(2, "tokens", tokens, end_s)
    return "".join(f"{line}\n" for line in lines)


def _tier(number: int, name: str, spans: Sequence[Span], end_s: float) -> Iterator[str]:
    intervals = list(_without_gaps(spans, end_s))
    yield f"    item [{number}]:"
    yield '        class = "IntervalTier"'
    yield f"        name = {_quoted(name)}"
    yield "        xmin = 0"
    yield f"        xmax = {end_s}"
    yield f"        intervals: size = {len(intervals)}"
    for count, (from_s, to_s, text) in enumerate(intervals, start=1):
        yield f"        intervals [{count}]:"
        yield f"            xmin = {from_s}"
        yield f"            xmax = {to_s}"
        yield f"            text = {_quoted(text)}"


def _without_gaps(spans: Iterable[Span], end_s: float) -> Iterator[Span]:
    """The spans, in order, with empty ones before, between and after them."""
    reached_s = 0.0
    for start_s, stop_s, text in spans:
        if start_s > reached_s:
            yield reached_s, start_s, ""
        yield start_s, stop_s, text
        reached_s = stop_s
    if reached_s < end_s:
        yield reached_s, end_s, ""


def _quoted(text: str) -> str:
    """A quotation mark within a text is doubled."""
    return '"' + text.replace('"', '""') + '"'
