"""Transcripts as people write them, to text that is learned from."""

from __future__ import annotations

# ruff: noqa: RUF001  # signs that look alike are what is tested
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recitative.text.normalize import NormalizationRules, normalize, normalize_all

CASES = {
    "Hello, World!": "hello world",
    "  two\t blanks \n and\u00a0more ": "two blanks and more",
    "don't": "don't",
    "don’t": "don't",
    "o`clock and o´clock": "o'clock and o'clock",
    "'quoted' and ‘quoted’": "quoted and quoted",
    "the dogs' bones, rock 'n' roll": "the dogs bones rock n roll",
    "twenty-one": "twenty one",
    "a well-known — or not – man…": "a well known or not man",
    "end.Next": "end next",
    "U.S.A.": "u s a",
    "cafe\u0301": "café",
    "«Ça va?»": "ça va",
    "STRASSE Straße": "strasse straße",
    "Привет, мир": "привет мир",
    "col·legi": "col·legi",
    "¿Qué?  ¡Sí!": "qué sí",
    "soft\u00adhyphen \ufeffand mark": "softhyphen and mark",
    "می\u200cروم": "می\u200cروم",
    "五、六。": "五 六",
    "at 3.50, 1984": "at 3 50 1984",
    "50% of R&D": "50% of r&d",
    "...": "",
    "": "",
}


@pytest.mark.parametrize(("written", "said"), CASES.items())
def test_written_and_said(written: str, said: str) -> None:
    assert normalize(written) == said


def test_rules_leave_case_and_hyphens_within_words() -> None:
    assert normalize("Twenty-One - Go!", NormalizationRules(keep_hyphens=True)) == "twenty-one go"
    assert normalize("Twenty‐One, Go!", NormalizationRules(keep_hyphens=True)) == "twenty-one go"
    assert normalize("Haus, Boot", NormalizationRules(keep_case=True)) == "Haus Boot"


@given(st.text(), st.booleans(), st.booleans())
def test_a_second_time_changes_nothing(text: str, keep_case: bool, keep_hyphens: bool) -> None:
    rules = NormalizationRules(keep_case, keep_hyphens)
    once = normalize(text, rules)
    assert normalize(once, rules) == once
    assert once == unicodedata.normalize("NFC", once)
    assert once.split() == once.split(" ") or once == ""


@given(st.text())
def test_no_letter_and_no_digit_is_lost(text: str) -> None:
    """The slow way: go through the characters one by one."""
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    spoken = [sign for sign in composed if unicodedata.category(sign)[0] in "LN" and sign != "ʼ"]
    kept = [sign for sign in normalize(text) if unicodedata.category(sign)[0] in "LN"]
    assert unicodedata.normalize("NFC", "".join(kept)) == unicodedata.normalize("NFC", "".join(spoken))


TEXTS = {"a-1": "Hello, you", "a-2": "in 1984, 50% said [noise]", "a-3": "plain words"}


def test_the_report_counts_what_was_changed() -> None:
    said, told = normalize_all(TEXTS)
    assert said == {utt_id: normalize(text) for utt_id, text in TEXTS.items()}
    assert told.texts == 3
    assert told.changed == {
        "characters composed": 0,
        "letters lowercased": 1,
        "punctuation removed": 2,
        "blanks merged": 2,
    }
    assert told.removed == {",": 2, "[": 1, "]": 1}


def test_the_report_names_what_remains_unusual_and_where() -> None:
    unusual = normalize_all(TEXTS)[1].unusual
    assert sorted(unusual) == ["%", "0", "1", "4", "5", "8", "9"]
    assert unusual["9"].why == "write numbers as words"
    assert unusual["%"].why == "write symbols as the words that are spoken"
    assert (unusual["9"].count, unusual["9"].first) == (1, "a-2")


def test_the_report_as_lines() -> None:
    assert normalize_all(TEXTS)[1].lines() == [
        "text: 3 transcripts; letters lowercased in 1, punctuation removed in 2, blanks merged in 2 (, 2 [ 1 ] 1)",
        "warning: text: brackets were removed and their words kept; remove words that are not spoken",
        "warning: text: % stay in the text (1 time, first in a-2): write symbols as the words that are spoken",
        "warning: text: 0 1 4 5 8 9 stay in the text (6 times, first in a-2): write numbers as words",
    ]
    assert normalize_all({"a": "one"})[1].lines() == ["text: 1 transcript; nothing to change"]


def test_a_letter_from_another_keyboard_is_named() -> None:
    latin = "the cat sat on the mat " * 20
    assert normalize_all({"a": latin, "b": "c\N{CYRILLIC SMALL LETTER A}t"})[1].unusual.keys() == {
        "\N{CYRILLIC SMALL LETTER A}"
    }
    mixed = {"a": latin, "b": "слова по русски " * 20}
    assert normalize_all(mixed)[1].unusual == {}, "two languages are no mistake"
