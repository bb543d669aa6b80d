"""Write out numbers in English text as spoken: years, ordinals, decimals, sums of money."""

from __future__ import annotations

import re

ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
THOUSANDS = ("", "thousand", "million", "billion")
IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
SIGNS = {"&": "and", "%": "percent", "@": "at", "+": "plus", "=": "equals", "£": "pounds", "$": "dollars"}
TITLES = {
    "mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "messrs": "messieurs", "etc": "et cetera",
}  # fmt: skip

_NUMBER = re.compile(r"([$£]?)(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?(st|nd|rd|th|s)?\b", re.IGNORECASE)
_TITLE = re.compile(r"\b(" + "|".join(TITLES) + r")\b\.?", re.IGNORECASE)
_SIGN = re.compile("[" + re.escape("".join(SIGNS)) + "]")


def spoken(text: str) -> str:
    """Replace numbers, signs and common titles by words."""
    text = _TITLE.sub(lambda found: TITLES[found[1].lower()], text)
    text = _NUMBER.sub(_number, text)
    return _SIGN.sub(lambda found: f" {SIGNS[found[0]]} ", text)


def _number(found: re.Match[str]) -> str:
    money, digits, decimals, ending = found.groups()
    plain = digits.replace(",", "")
    if decimals:
        words = f"{cardinal(int(plain))} point {' '.join(ONES[int(digit)] for digit in decimals)}"
    elif (ending or "").lower() in ("st", "nd", "rd", "th"):
        words = ordinal(int(plain))
    elif not money and "," not in digits and len(plain) == 4 and 1100 <= int(plain) < 2100:
        words = year(int(plain))
    elif len(plain) > 9 or (len(plain) > 1 and plain.startswith("0")):
        words = " ".join(ONES[int(digit)] for digit in plain)
    else:
        words = cardinal(int(plain))
    if (ending or "").lower() == "s":
        words = f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
    unit = {"$": " dollars", "£": " pounds", "": ""}[money]
    return f" {words}{unit} "


def cardinal(number: int) -> str:
    """0 to 999,999,999,999 -> 'nine hundred ninety nine', without 'and'."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens] + (f" {ONES[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{ONES[hundreds]} hundred" + (f" {cardinal(rest)}" if rest else "")
    power = max(power for power in range(1, len(THOUSANDS)) if number >= 1000**power)
    thousands, rest = divmod(number, 1000**power)
    return f"{cardinal(thousands)} {THOUSANDS[power]}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """21 -> 'twenty first'."""
    *before, last = cardinal(number).split()
    last = IRREGULAR.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return " ".join([*before, last])


def year(number: int) -> str:
    """1908 -> 'nineteen oh eight', 2005 -> 'two thousand five', 1900 -> 'nineteen hundred'."""
    century, rest = divmod(number, 100)
    if century % 10 == 0:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"
