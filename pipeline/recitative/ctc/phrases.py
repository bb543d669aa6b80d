"""Phrases that a user names, hot words and keywords alike: how they are listed, and how a model's tokens write them.

A list is ``phrase``, ``phrase:4`` with a number, or ``word=PH PH PH`` with a pronunciation, separated by commas or line
ends; ``#`` begins a comment.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recitative.errors import DataError, Problem, UsageError
from recitative.reading import LARGEST_SETTINGS, read_text
from recitative.text.lexicon import Lexicon, Pronunciation
from recitative.text.tokens import TokenTable

LARGEST_COMBINATIONS = 64  # of pronunciations of one phrase

Ways = Mapping[str, tuple[Pronunciation, ...]]


@dataclass(frozen=True)
class Kind:
    """What a phrase of a list is called in messages, and what the number behind it means."""

    name: str  # hot word
    number: str  # weight
    largest: float  # numbers are from 0 to this
    example: float


@dataclass(frozen=True)
class Phrase:
    """Words with single spaces; the number if one was given; how its single word sounds if that was."""

    text: str
    number: float | None = None
    pronunciation: Pronunciation = ()


def parse_phrases(text: str, kind: Kind) -> list[Phrase]:
    """Raises UsageError that names a phrase without words, a number out of range, a pronunciation of two words."""
    lines = [line.split("#", 1)[0].strip() for part in text.splitlines() for line in part.split(",")]
    return [_parse(line, kind) for line in lines if line]


def read_phrases(path: Path, kind: Kind) -> list[Phrase]:
    """A file of phrases. Raises DataError if it cannot be read or holds none, and what ``parse_phrases`` does."""
    text = read_text(path, "a text file, one phrase a line", limit=LARGEST_SETTINGS)
    found = parse_phrases(text, kind)
    if not found:
        raise DataError(str(path), "holds no phrase", "one phrase a line", "")
    return found


def write_words(words: Iterable[str], given: Ways, tokens: TokenTable, known: Lexicon, kind: str) -> Lexicon:
    """How each word is written: as it was given, as the model's lexicon has it, or spelled.

    Raises one DataError for all words that can be written in none of these ways.
    """
    problems: list[Problem] = []
    entries: dict[str, tuple[Pronunciation, ...]] = {}
    for word in sorted(words):
        try:
            entries[word] = _ways(word, given, tokens, known, f"{kind} '{word}'")
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError.collect(problems)
    return Lexicon(entries)


def spellings(phrase: str, lexicon: Lexicon, tokens: TokenTable) -> list[tuple[tuple[int, ...], ...]]:
    """Every combination of its words' pronunciations, a tuple of labels for each word; at most so many."""
    ways = [lexicon.pronunciations(word, tokens) for word in phrase.split()]
    return list(itertools.islice(itertools.product(*ways), LARGEST_COMBINATIONS))


def _parse(line: str, kind: Kind) -> Phrase:
    head, _, stated = line.rpartition(":")
    number = _number(line, stated.strip(), kind) if head else None
    text, _, sound = (head or line).partition("=")
    if not text.split():
        raise UsageError(f"{kind.name} '{line}': has no word")
    if sound and len(text.split()) > 1:
        raise UsageError(f"{kind.name} '{line}': a pronunciation belongs to one word; give each word its own line")
    return Phrase(" ".join(text.split()), number, tuple(sound.split()))


def _number(line: str, stated: str, kind: Kind) -> float:
    try:
        number = float(stated)
    except ValueError:
        example = f"write phrase:{kind.example:g}"
        raise UsageError(f"{kind.name} '{line}': '{stated}' is no {kind.number}; {example}") from None
    if not 0 <= number <= kind.largest:
        raise UsageError(f"{kind.name} '{line}': {kind.number} {number:g} must be from 0 to {kind.largest:g}")
    return number


def _ways(word: str, given: Ways, tokens: TokenTable, known: Lexicon, where: str) -> tuple[Pronunciation, ...]:
    if word in given:
        if unknown := _unknown(given[word], tokens):
            raise DataError(where, f"{', '.join(map(repr, unknown))} not in the token table", "the model's tokens", "")
        return given[word]
    if word in known.entries:
        return known.entries[word]
    if tokens.unit == "phone":
        remedy = f"give its pronunciation: '{word}={' '.join(tokens.symbols[1:4])}'"
        raise DataError(where, "not in the lexicon", "words of the lexicon, or a pronunciation", remedy)
    if unknown := tokens.unknown(word):
        allowed = f"the model's {tokens.holds}s"
        raise DataError(
            where, f"has {', '.join(map(repr, unknown))}, which the model never writes", allowed, "respell it"
        )
    return (tuple(tokens.split(word)),)


def _unknown(ways: Sequence[Pronunciation], tokens: TokenTable) -> list[str]:
    return [symbol for way in ways for symbol in way if symbol not in tokens.ids]
