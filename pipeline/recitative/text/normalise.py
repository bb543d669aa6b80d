"""Transcripts as people write them -> transcripts as they are said: what a recogniser is to learn and to write.

    "Don't – it's 5\N{NO-BREAK SPACE}o'clock, Twenty-One!"  ->  "don't it's 5 o'clock twenty one"

Composed to Unicode's NFC, in lower case, without punctuation, with single blanks. What is spoken stays, even where the
words for it are missing: digits and signs such as % or & are kept, and named in the report, since nobody but the author
knows whether "1984" was said as a year. The same text comes out if it is normalised again.
"""

# ruff: noqa: RUF001  # signs that look alike are what this module is about
from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

APOSTROPHES = "'`´ʼ‘’‛′＇"
"""What is typed for an apostrophe; between two letters each becomes the first."""

INNER_SIGNS = "·׳״\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""What belongs to the spelling between two letters: Catalan's middle dot, Hebrew's geresh, Persian's non-joiner."""

HYPHENS = "-‐‑"
SPOKEN_PUNCTUATION = "%&@#‰§"
"""Punctuation to Unicode, words to a reader."""

BRACKETS = "[]<>{}"
"""What transcribers put around noises: [laughter]."""

ALPHABETS = ("LATIN", "GREEK", "CYRILLIC")
"""Those whose letters look alike."""


@dataclass(frozen=True)
class Rules:
    """What is left as it is."""

    keep_case: bool = False
    keep_hyphens: bool = False  # those between letters; else "twenty-one" and "twenty one" are made the same


@dataclass(frozen=True)
class Unusual:
    """A character that remains, although a recogniser can hardly learn it."""

    why: str
    count: int  # how often
    first: str  # the utterance it is first seen in


@dataclass(frozen=True)
class Report:
    """What was changed in some texts, and what remains unusual in them."""

    texts: int
    changed: Mapping[str, int]  # kind of change -> in how many texts
    removed: Mapping[str, int]  # punctuation mark -> how often it was taken away
    unusual: Mapping[str, Unusual]  # character -> why

    def lines(self) -> list[str]:
        """One line on what was changed, and a warning for every reason why a character is unusual."""
        changes = ", ".join(f"{kind} in {count}" for kind, count in self.changed.items() if count)
        marks = " ".join(f"{mark} {count}" for mark, count in list(self.removed.items())[:10])
        said = changes or "nothing to change"
        lines = [f"text: {self.texts} transcripts; {said}" + (f" ({marks})" if marks else "")]
        if any(mark in self.removed for mark in BRACKETS):
            lines.append("warning: text: brackets were taken away and their words kept; remove what was not said")
        for why in dict.fromkeys(unusual.why for unusual in self.unusual.values()):
            signs = {sign: unusual for sign, unusual in self.unusual.items() if unusual.why == why}
            shown = " ".join(list(signs)[:20])
            count = sum(unusual.count for unusual in signs.values())
            first = min(unusual.first for unusual in signs.values())
            lines.append(f"warning: text: {shown} stay in the text ({count} times, first in {first}): {why}")
        return lines


def normalise(text: str, rules: Rules = Rules()) -> str:
    """A transcript of any spelling -> words with single spaces; empty if nothing is said."""
    for _, step in _steps(rules):
        text = step(text)
    return text


def normalise_all(texts: Mapping[str, str], rules: Rules = Rules()) -> tuple[dict[str, str], Report]:
    """``normalise`` of texts given by utterance, what it changed, and what remains unusual."""
    changed = {name: 0 for name, _ in _steps(rules)}
    removed: Counter[str] = Counter()
    said: dict[str, str] = {}
    for utt_id, text in texts.items():
        for name, step in _steps(rules):
            before, text = text, step(text)
            if before != text:
                changed[name] += 1
                removed.update(_punctuation(before) - _punctuation(text))
        said[utt_id] = text
    return said, Report(len(texts), changed, dict(removed.most_common()), _unusual(said))


def _steps(rules: Rules) -> Iterator[tuple[str, Callable[[str], str]]]:
    """The changes in their order, each with its name in the report."""
    yield "characters composed", _composed
    if not rules.keep_case:
        yield "letters made small", _lower_case
    yield "punctuation taken away", _without_punctuation_but_hyphens if rules.keep_hyphens else _without_punctuation
    yield "blanks made one", _single_blanks


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _lower_case(text: str) -> str:
    """By Unicode's rules for no language in particular: Turkish needs its own, before this."""
    return unicodedata.normalize("NFC", text.lower())


def _without_punctuation(text: str) -> str:
    return _spoken(text, "")


def _without_punctuation_but_hyphens(text: str) -> str:
    return _spoken(text, HYPHENS)


def _single_blanks(text: str) -> str:
    return " ".join(text.split())


def _spoken(text: str, inner: str) -> str:
    """Every mark becomes a blank, so that "end.Next" is two words, but for those within words."""
    if text.isascii() and text.replace(" ", "").isalpha():
        return text  # nothing to do for most of a prepared corpus
    visible = "".join(sign for sign in text if _is_visible(sign))
    around = f" {visible} "
    signs = []
    for before, sign, after in zip(around, visible, around[2:], strict=False):
        within = _is_of_word(before) and _is_of_word(after)
        if within and sign in APOSTROPHES:
            signs.append("'")
        elif within and sign in inner:
            signs.append("-")
        elif within and sign in INNER_SIGNS:
            signs.append(sign)
        else:
            signs.append(" " if _is_mark(sign) else sign)
    return "".join(signs)


@cache
def _is_visible(sign: str) -> bool:
    """Soft hyphens, byte order marks and their kin are not, but some have a meaning within words."""
    return unicodedata.category(sign) != "Cf" or sign in INNER_SIGNS


@cache
def _is_of_word(sign: str) -> bool:
    """Letters, the marks on them, and digits."""
    return unicodedata.category(sign)[0] in "LMN" and sign not in APOSTROPHES


@cache
def _is_mark(sign: str) -> bool:
    """Punctuation that nobody says, control characters, and what stands for an apostrophe."""
    if sign in SPOKEN_PUNCTUATION:
        return False
    return unicodedata.category(sign)[0] == "P" or unicodedata.category(sign) in ("Cc", "Cf") or sign in APOSTROPHES


def _punctuation(text: str) -> Counter[str]:
    """How often each mark is there that is written, not said."""
    return Counter(sign for sign in text if _is_mark(sign) and sign.isprintable())


def _unusual(texts: Mapping[str, str]) -> dict[str, Unusual]:
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for utt_id, text in texts.items():
        counts.update(text)
        for sign in set(text) - first.keys():
            first[sign] = utt_id
    rare = _rare_alphabets(counts)
    reasons = {sign: _reason(sign, rare) for sign in sorted(counts)}
    return {sign: Unusual(why, counts[sign], first[sign]) for sign, why in reasons.items() if why}


def _reason(sign: str, rare_alphabets: frozenset[str]) -> str:
    """Why a character of normalised text is unusual; empty if it isn't."""
    match unicodedata.category(sign)[0]:
        case "N":
            return "write numbers as words"
        case "L" if _alphabet(sign) in rare_alphabets:
            return "letters of another alphabet, perhaps typed by mistake"
        case "S" | "P" if sign not in (*APOSTROPHES, *HYPHENS, *INNER_SIGNS):
            return "write signs as the words that are said"
        case "C" if sign not in INNER_SIGNS:
            return "no characters of any alphabet"
    return ""


def _rare_alphabets(counts: Mapping[str, int]) -> frozenset[str]:
    """Alphabets with less than a hundredth of the letters: an 'а' from a Cyrillic keyboard among Latin letters."""
    letters: Counter[str] = Counter()
    for sign, count in counts.items():
        letters[_alphabet(sign)] += count
    del letters[""]
    return frozenset(name for name, count in letters.items() if count < letters.total() / 100)


def _alphabet(sign: str) -> str:
    """One of ALPHABETS, or nothing."""
    name = unicodedata.name(sign, "").split(" ")[0]
    return name if name in ALPHABETS else ""
