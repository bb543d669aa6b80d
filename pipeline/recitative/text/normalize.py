"""Normalization of transcripts for training: from written text to spoken words.

    "Don't – it's 5\N{NO-BREAK SPACE}o'clock, Twenty-One!"  ->  "don't it's 5 o'clock twenty one"

Composed to Unicode's NFC, in lower case, without punctuation, with single blanks. Spoken content stays: digits and
symbols such as % or & are kept, and listed in the report, since only the author knows whether "1984" was spoken as a
year. Normalizing twice has no further effect.
"""

from __future__ import annotations

# ruff: noqa: RUF001  # this module is about characters that look alike
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

APOSTROPHES = "'`´ʼ‘’‛′＇"
"""Characters typed as an apostrophe; between two letters each becomes the first."""

INNER_SIGNS = "·׳״\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Part of the spelling between two letters: Catalan's middle dot, Hebrew's geresh, Persian's non-joiner."""

HYPHENS = "-‐‑"
SPOKEN_PUNCTUATION = "%&@#‰§"
"""Punctuation in Unicode, but spoken as words."""

BRACKETS = "[]<>{}"
"""Around noises in transcripts: [laughter]."""

ALPHABETS = ("LATIN", "GREEK", "CYRILLIC")
"""Alphabets with letters that look alike."""


@dataclass(frozen=True)
class NormalizationRules:
    """Exceptions from normalization."""

    keep_case: bool = False
    keep_hyphens: bool = False  # between letters; otherwise "twenty-one" becomes "twenty one"


@dataclass(frozen=True)
class UnusualCharacter:
    """A remaining character that a recognizer can hardly learn."""

    why: str
    count: int  # how often
    first: str  # its first utterance


@dataclass(frozen=True)
class NormalizationReport:
    """The changes of texts, and the unusual characters that remain."""

    texts: int
    changed: Mapping[str, int]  # kind of change -> number of texts
    removed: Mapping[str, int]  # punctuation mark -> times removed
    unusual: Mapping[str, UnusualCharacter]  # by character

    def lines(self) -> list[str]:
        """One line on the changes, and a warning for every kind of unusual character."""
        changes = ", ".join(f"{kind} in {count}" for kind, count in self.changed.items() if count)
        marks = " ".join(f"{mark} {count}" for mark, count in list(self.removed.items())[:10])
        summary = changes or "nothing to change"
        lines = [f"text: {self.texts} transcripts; {summary}" + (f" ({marks})" if marks else "")]
        if any(mark in self.removed for mark in BRACKETS):
            lines.append("warning: text: brackets were removed and their words kept; remove words that are not spoken")
        for why in dict.fromkeys(unusual.why for unusual in self.unusual.values()):
            signs = {sign: unusual for sign, unusual in self.unusual.items() if unusual.why == why}
            shown = " ".join(list(signs)[:20])
            count = sum(unusual.count for unusual in signs.values())
            first = min(unusual.first for unusual in signs.values())
            lines.append(f"warning: text: {shown} stay in the text ({count} times, first in {first}): {why}")
        return lines


def normalize(text: str, rules: NormalizationRules = NormalizationRules()) -> str:
    """A transcript -> normalized words with single spaces; may be empty."""
    for _, step in _steps(rules):
        text = step(text)
    return text


def normalize_all(
    texts: Mapping[str, str], rules: NormalizationRules = NormalizationRules()
) -> tuple[dict[str, str], NormalizationReport]:
    """Normalized texts by utterance, and a report on changes and unusual characters."""
    changed = {name: 0 for name, _ in _steps(rules)}
    removed: Counter[str] = Counter()
    normalized: dict[str, str] = {}
    for utt_id, text in texts.items():
        for name, step in _steps(rules):
            before, text = text, step(text)
            if before != text:
                changed[name] += 1
                removed.update(_punctuation(before) - _punctuation(text))
        normalized[utt_id] = text
    return normalized, NormalizationReport(len(texts), changed, dict(removed.most_common()), _unusual(normalized))


def _steps(rules: NormalizationRules) -> Iterator[tuple[str, Callable[[str], str]]]:
    """The steps in order, each with its name in the report."""
    yield "characters composed", lambda text: unicodedata.normalize("NFC", text)
    if not rules.keep_case:  # by Unicode's language-independent rules; Turkish needs its own, before this
        yield "letters lowercased", lambda text: unicodedata.normalize("NFC", text.lower())
    yield "punctuation removed", lambda text: _without_punctuation(text, HYPHENS if rules.keep_hyphens else "")
    yield "blanks merged", lambda text: " ".join(text.split())


def _without_punctuation(text: str, inner: str) -> str:
    """Every punctuation mark outside words becomes a blank, so that "end.Next" is two words."""
    if text.isascii() and text.replace(" ", "").isalpha():
        return text  # most texts of a prepared corpus need no change
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
    """False for soft hyphens, byte order marks and the like, except those with a meaning within words."""
    return unicodedata.category(sign) != "Cf" or sign in INNER_SIGNS


@cache
def _is_of_word(sign: str) -> bool:
    """Letters, combining marks, and digits."""
    return unicodedata.category(sign)[0] in "LMN" and sign not in APOSTROPHES


@cache
def _is_mark(sign: str) -> bool:
    """Punctuation that is not spoken, control characters, and apostrophes."""
    if sign in SPOKEN_PUNCTUATION:
        return False
    return unicodedata.category(sign)[0] == "P" or unicodedata.category(sign) in ("Cc", "Cf") or sign in APOSTROPHES


def _punctuation(text: str) -> Counter[str]:
    """Counts of punctuation marks that are not spoken."""
    return Counter(sign for sign in text if _is_mark(sign) and sign.isprintable())


def _unusual(texts: Mapping[str, str]) -> dict[str, UnusualCharacter]:
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for utt_id, text in texts.items():
        counts.update(text)
        for sign in set(text) - first.keys():
            first[sign] = utt_id
    rare = _rare_alphabets(counts)
    reasons = {sign: _reason(sign, rare) for sign in sorted(counts)}
    return {sign: UnusualCharacter(why, counts[sign], first[sign]) for sign, why in reasons.items() if why}


def _reason(sign: str, rare_alphabets: frozenset[str]) -> str:
    """Why a character of normalized text is unusual; empty if it isn't."""
    match unicodedata.category(sign)[0]:
        case "N":
            return "write numbers as words"
        case "L" if _alphabet(sign) in rare_alphabets:
            return "letters of another alphabet, perhaps typed by mistake"
        case "S" | "P" if sign not in (*APOSTROPHES, *HYPHENS, *INNER_SIGNS):
            return "write symbols as the words that are spoken"
        case "C" if sign not in INNER_SIGNS:
            return "not characters of any alphabet"
    return ""


def _rare_alphabets(counts: Mapping[str, int]) -> frozenset[str]:
    """Alphabets with less than 1 % of the letters: an 'а' from a Cyrillic keyboard among Latin letters."""
    letters: Counter[str] = Counter()
    for sign, count in counts.items():
        letters[_alphabet(sign)] += count
    del letters[""]
    return frozenset(name for name, count in letters.items() if count < letters.total() / 100)


def _alphabet(sign: str) -> str:
    """One of ALPHABETS, or empty."""
    name = unicodedata.name(sign, "").split(" ")[0]
    return name if name in ALPHABETS else ""
