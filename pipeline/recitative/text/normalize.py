"""Normalization of transcripts for training, from written text to spoken words, and its inverse for numbers.

    "Don't – it's 5\N{NO-BREAK SPACE}o'clock, Twenty-One!"  ->  "don't it's 5 o'clock twenty one"

Composed to Unicode's NFC, in lower case, without punctuation, with single blanks. Spoken content stays: digits and
symbols such as % or & are kept, and listed in the report, since only the author knows whether "1984" was spoken as a
year. Normalizing twice has no further effect.
"""

from __future__ import annotations

# ruff: noqa: RUF001  # this module is about characters that look alike
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from recitative.errors import counted

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
        lines = [f"text: {counted(self.texts, 'transcript')}; {summary}" + (f" ({marks})" if marks else "")]
        if any(mark in self.removed for mark in BRACKETS):
            lines.append("warning: text: brackets were removed and their words kept; remove words that are not spoken")
        for why in dict.fromkeys(unusual.why for unusual in self.unusual.values()):
            signs = {sign: unusual for sign, unusual in self.unusual.items() if unusual.why == why}
            shown = " ".join(list(signs)[:20])
            count = sum(unusual.count for unusual in signs.values())
            first = min(unusual.first for unusual in signs.values())
            lines.append(f"warning: text: {shown} stay in the text ({counted(count, 'time')}, first in {first}): {why}")
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


# Inverse text normalization: numbers, years, dates, times and sums of money in spoken English, written as figures.
#
#     twenty three dollars and fifty cents -> $23.50      nineteen ninety nine -> 1999      one of them -> one of them
#
# The rules are careful: a run of number words becomes a figure only if one rule explains the whole run. Numbers below
# ten stay words, except in dates, times, percentages, decimals and sums of money.

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
]  # fmt: skip
MONTHS = [
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
]  # fmt: skip
ONES = {word: value for value, word in enumerate(_ONES)}
TENS = {word: 10 * value for value, word in enumerate(_TENS, 2)}
POWERS = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
DIGITS = {"oh": 0} | {word: value for word, value in ONES.items() if value < 10}
ORDINALS = {word: value for value, word in enumerate(_ORDINALS, 1)}
ORDINALS |= {f"{word[:-1]}ieth": value for word, value in TENS.items()} | {"hundredth": 100, "thousandth": 1000}
DECADES = {f"{word[:-1]}ies": value for word, value in TENS.items()}
CURRENCIES = {"dollar": "$", "dollars": "$", "euro": "€", "euros": "€", "pound": "£", "pounds": "£"}
PARTS = {"cent": "¢", "cents": "¢", "penny": "£", "pence": "£"}
TITLES = {"mister": "Mr.", "missus": "Mrs."}
NUMBER_WORDS = ONES.keys() | TENS.keys() | POWERS.keys() | {"hundred"}

BEFORE_TIMES = {"at", "by", "until", "till", "since", "before", "after", "around"}
BEFORE_DATES = {"on", "of", "by", "since", "until", "till", "from", "before", "after", "last", "next", "this", "in"}
NOT_NUMBERED = {"may", "march", "august"}  # months that are other words too
UNITS = {"people", "men", "women", "feet", "children", "percent"}


class Figure(NamedTuple):
    """Words [start, end) are written as ``text``, which has no spaces."""

    start: int
    end: int
    text: str


def find_figures(words: Sequence[str]) -> list[Figure]:
    """The figures in a sequence of words in lower case, in order and without overlap."""
    found: list[Figure] = []
    at = 0
    while at < len(words):
        figures: Rule = next(filter(None, (rule(words, at) for rule in RULES)), ())
        found += figures
        at = figures[-1].end if figures else max(at + 1, _run_end(words, at))
    return found


def num_settled(words: Sequence[str]) -> int:
    """The number of first words whose written form no longer depends on later words."""
    at = len(words)
    while at and (words[at - 1] in _JOINING or words[at - 1] in NUMBER_WORDS or words[at - 1] in ORDINALS):
        at -= 1
    return at


Rule = tuple[Figure, ...]


def _title(words: Sequence[str], at: int) -> Rule:
    title = TITLES.get(words[at])
    return (Figure(at, at + 1, title),) if title and at + 1 < len(words) else ()


def _date(words: Sequence[str], at: int) -> Rule:
    """july fourth -> July 4; march the third nineteen ninety nine -> March 3, 1999; the fourth of july -> the 4th of
    July."""
    if words[at] in MONTHS:
        first = at + 1 + (_word(words, at + 1) == "the")
        day, end = _ordinal(words, first)
        if not 1 <= day <= 31 or (words[at] in NOT_NUMBERED and _word(words, at - 1) not in BEFORE_DATES):
            return ()
        month = Figure(at, at + 1, words[at].capitalize())
        year, year_end = _year(words, end)
        if not year:
            return month, Figure(first - (first > at + 1), end, str(day))
        return month, Figure(first - (first > at + 1), end, f"{day},"), Figure(end, year_end, str(year))
    day, end = _ordinal(words, at)
    if 1 <= day <= 31 and _word(words, end) == "of" and _word(words, end + 1) in MONTHS:
        month = Figure(end + 1, end + 2, words[end + 1].capitalize())
        year, year_end = _year(words, end + 2)
        return Figure(at, end, _with_ending(day)), month, *((Figure(end + 2, year_end, str(year)),) if year else ())
    return ()


def _money(words: Sequence[str], at: int) -> Rule:
    """twenty three dollars and fifty cents -> $23.50; three million dollars -> $3 million. Pounds may be weights: they
    are money only before pence."""
    value, end, millions = _amount(words, at)
    if end == at:
        return ()
    sign = CURRENCIES.get(_word(words, end))
    if not sign:
        return ()
    behind = end + 1 + (_word(words, end + 1) == "and")
    part, part_end, _ = _amount(words, behind)
    other = PARTS.get(_word(words, part_end)) if part.isdigit() and int(part) < 100 else None
    if other and (sign == "£") == (other == "£") and not millions:
        return (Figure(at, part_end + 1, f"{sign}{value}.{int(part):02}"),)
    if sign == "£":
        return ()
    number_end = end - 1 if millions else end + 1
    return Figure(at, number_end, f"{sign}{value}"), *((Figure(end - 1, end + 1, millions),) if millions else ())


def _percent(words: Sequence[str], at: int) -> Rule:
    """five percent -> 5%"""
    value, end, millions = _amount(words, at)
    long = _word(words, end) == "per" and _word(words, end + 1) == "cent"
    if end == at or millions or not (long or _word(words, end) == "percent"):
        return ()
    return (Figure(at, end + 1 + long, f"{value}%"),)


def _time(words: Sequence[str], at: int) -> Rule:
    """three thirty p m -> 3:30 p.m.; at three thirty -> at 3:30; five a m -> 5 a.m."""
    hour = ONES.get(words[at], 0)
    if not 1 <= hour <= 12 or _is_number(_word(words, at - 1)):
        return ()
    minutes, end = _minutes(words, at + 1)
    half = _word(words, end)
    if half in ("a", "p") and _word(words, end + 1) == "m":
        return Figure(at, end, f"{hour}{minutes}"), Figure(end, end + 2, f"{half}.m.")
    follows = _word(words, end)
    if minutes and _word(words, at - 1) in BEFORE_TIMES and not _is_number(follows) and not _counts(follows):
        return (Figure(at, end, f"{hour}{minutes}"),)
    return ()


def _minutes(words: Sequence[str], at: int) -> tuple[str, int]:
    """':30' or '', and where it ends."""
    first, second = _word(words, at), _word(words, at + 1)
    if first == "oh" and DIGITS.get(second, 0) >= 1:
        return f":0{DIGITS[second]}", at + 2
    if ONES.get(first, 0) >= 10:
        return f":{ONES[first]}", at + 1
    if 20 <= TENS.get(first, 99) <= 50:
        ones = ONES.get(second, 0) if ONES.get(second, 99) < 10 else 0
        return f":{TENS[first] + ones}", at + 1 + (ones > 0)
    return "", at


def _decade(words: Sequence[str], at: int) -> Rule:
    """nineteen twenties -> 1920s"""
    century = ONES.get(words[at], 0)
    decade = DECADES.get(_word(words, at + 1))
    return (Figure(at, at + 2, f"{century}{decade}s"),) if 13 <= century <= 19 and decade else ()


def _run(words: Sequence[str], at: int) -> Rule:
    """A whole run of number words that is an ordinal, a year, digits, a decimal or a number."""
    end = _run_end(words, at)
    if end == at or _is_of_clock(words, at, end):
        return ()
    ordinal, ordinal_end = _ordinal(words, at)
    if ordinal > 20 and ordinal_end > at + 1:
        return (Figure(at, ordinal_end, _with_ending(ordinal)),)
    behind = _word(words, end)
    if behind.removesuffix("s") in ORDINALS and behind not in ("second", "seconds"):
        return ()  # two thirds
    year, year_end = _year(words, at)
    if year and year_end == end and not (_counts(_word(words, end)) and end - at == 2):
        return (Figure(at, end, str(year)),)
    digits = "".join(str(DIGITS[word]) for word in words[at:end] if word in DIGITS)
    if len(digits) == end - at and (len(digits) > 3 or (len(digits) == 3 and digits[1] == "0")):
        return (Figure(at, end, {7: f"{digits[:3]}-{digits[3:]}"}.get(len(digits), digits)),)
    value, amount_end, millions = _amount(words, at)
    if amount_end < end or not value or (value.isdigit() and int(value) < 10 and not millions):
        return ()
    return (Figure(at, amount_end - bool(millions), value),)


RULES = (_title, _date, _money, _percent, _time, _decade, _run)
_JOINING = {"and", "point", "oh", "a", "p", "m", "per", "cent", "the", "of", "past", "to", *MONTHS, *TITLES,
            *CURRENCIES, *DECADES}  # fmt: skip


def _amount(words: Sequence[str], at: int) -> tuple[str, int, str]:
    """A number with or without decimals, where it ends, and its last word if that is 'million' or 'billion' and stays
    one; the same place without a number."""
    value, end = _cardinal(words, at)
    if end == at:
        return "", at, ""
    text = f"{value:,}" if value >= 10000 else str(value)
    decimals = end + 1
    while decimals < len(words) and words[decimals] in DIGITS and _word(words, end) == "point":
        decimals += 1
    if decimals > end + 1 and _word(words, at - 1) != "at":
        text += "." + "".join(str(DIGITS[word]) for word in words[end + 1 : decimals])
        end = decimals
        if _word(words, end) in ("million", "billion"):
            return text, end + 1, words[end]
    elif value < 1000 * 10**6 and words[end - 1] in ("million", "billion") and value % POWERS[words[end - 1]] == 0:
        return str(value // POWERS[words[end - 1]]), end, words[end - 1]
    return text, end, ""


def _cardinal(words: Sequence[str], at: int) -> tuple[int, int]:
    """A number and where it ends; (0, at) without one. 'hundred' and greater ones need a number before them."""
    total, power, end = 0, 10**12, at
    while True:
        group, group_end = _below_thousand(words, end + (end > at and _word(words, end) == "and"))
        scale = POWERS.get(_word(words, group_end), 1)
        if not group or scale >= power or (end > at and _word(words, end) == "and" and scale > 1):
            break
        total, power, end = total + group * scale, scale, group_end + (scale > 1)
        if scale == 1:
            break
    return (0, at + 1) if end == at and _word(words, at) == "zero" else (total, end)


def _below_thousand(words: Sequence[str], at: int) -> tuple[int, int]:
    value, end = _below_hundred(words, at)
    if not value or _word(words, end) != "hundred":
        return value, end
    rest, rest_end = _below_hundred(words, end + 1 + (_word(words, end + 1) == "and"))
    return (value * 100 + rest, rest_end) if rest else (value * 100, end + 1)


def _below_hundred(words: Sequence[str], at: int) -> tuple[int, int]:
    word = _word(words, at)
    if word in TENS:
        ones = ONES.get(_word(words, at + 1), 0)
        return (TENS[word] + ones, at + 2) if 1 <= ones <= 9 else (TENS[word], at + 1)
    return (ONES[word], at + 1) if ONES.get(word) else (0, at)


def _ordinal(words: Sequence[str], at: int) -> tuple[int, int]:
    """21 of 'twenty first' and where it ends; (0, at) without one."""
    value, end = _cardinal(words, at)
    joined = end > at and words[end - 1] in ("hundred", "thousand") and _word(words, end) == "and"
    last = ORDINALS.get(_word(words, end + joined), 0)
    if end == at:
        return (last, at + 1) if last else (0, at)
    whole = words[end - 1] in ("hundred", "thousand") or (words[end - 1] in TENS and last < 10)
    return (value + last, end + joined + 1) if last and last < 100 and whole else (0, at)


def _year(words: Sequence[str], at: int) -> tuple[int, int]:
    """1999 of 'nineteen ninety nine', 1905 of 'nineteen oh five', 2005 of 'two thousand five', and where it ends."""
    century = ONES.get(_word(words, at), 0) or TENS.get(_word(words, at), 0)
    if 13 <= century <= 20:
        second = _word(words, at + 1)
        if second == "oh" and DIGITS.get(_word(words, at + 2)):
            return century * 100 + DIGITS[words[at + 2]], at + 3
        if second == "hundred" and century < 20 and not _below_hundred(words, at + 2)[0]:
            return century * 100, at + 2
        rest, end = _below_hundred(words, at + 1)
        if rest >= 10 and _word(words, end) not in ("hundred", *POWERS):
            return century * 100 + rest, end
    value, end = _cardinal(words, at)
    return (value, end) if 2000 <= value < 2100 and words[at] == "two" else (0, at)


def _run_end(words: Sequence[str], at: int) -> int:
    """The end of the run of number words that starts here, with 'and', 'point' and 'oh' between them."""
    end = at
    while end < len(words) and _is_number(words[end]):
        end += 1
        joined = _word(words, end) == "and" and words[end - 1] in ("hundred", *POWERS)
        if (joined or _word(words, end) in ("point", "oh")) and _is_number(_word(words, end + 1)):
            end += 1
    return end


def _is_of_clock(words: Sequence[str], at: int, end: int) -> bool:
    """half past ten, ten past three, ten o'clock, ten to four"""
    value = _cardinal(words, at)[0]
    to = _word(words, end) == "to" and value in (5, 10, 20, 25) and 1 <= ONES.get(_word(words, end + 1), 0) <= 12
    return to or _word(words, at - 1) == "past" or _word(words, end) in ("past", "o'clock")


def _counts(word: str) -> bool:
    """Whether a word names what is counted."""
    return word in UNITS or (word.endswith("s") and word not in ("is", "was", "has", "as", "his", "this", "its"))


def _is_number(word: str) -> bool:
    return word in NUMBER_WORDS


def _word(words: Sequence[str], at: int) -> str:
    return words[at] if 0 <= at < len(words) else ""


def _with_ending(number: int) -> str:
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 <= number % 100 <= 20 else endings.get(number % 10, 'th')}"
