"""Numbers, dates, times and money as figures: a table of what is written, and of what stays words."""

from __future__ import annotations

import pytest

from recitative.text.normalize import find_figures, num_settled

WRITTEN = {
    # numbers
    "ten": "10",
    "twenty three people": "23 people",
    "ninety nine": "99",
    "two hundred": "200",
    "two hundred and fifty": "250",
    "one hundred and five": "105",
    "three thousand two hundred": "3200",
    "ten thousand": "10,000",
    "one hundred and twenty thousand": "120,000",
    "three million": "3 million",
    "three million two hundred thousand": "3,200,000",
    "two point five million": "2.5 million",
    "twenty five hundred": "2500",
    "ten or twelve men": "10 or 12 men",
    "nine or ten": "nine or 10",
    "three point one four": "3.14",
    "zero point five": "0.5",
    # years
    "in nineteen ninety nine": "in 1999",
    "nineteen oh five": "1905",
    "eighteen hundred": "1800",
    "eighteen sixty": "1860",
    "twenty twenty": "2020",
    "twenty nineteen": "2019",
    "two thousand five": "2005",
    "two thousand and twelve": "2012",
    "the nineteen twenties": "the 1920s",
    # dates
    "july fourth": "July 4",
    "july the fourth": "July 4",
    "the fourth of july": "the 4th of July",
    "on march third nineteen ninety nine": "on March 3, 1999",
    "on the twenty first of december eighteen eighty": "on the 21st of December 1880",
    "in may first": "in May 1",
    "january thirty first": "January 31",
    # ordinals
    "the twenty first century": "the 21st century",
    "the one hundred and first": "the 101st",
    "twenty second street": "22nd street",
    "the forty third": "the 43rd",
    # times
    "three thirty p m": "3:30 p.m.",
    "at three thirty": "at 3:30",
    "at ten oh five": "at 10:05",
    "five a m": "5 a.m.",
    "by eleven forty five": "by 11:45",
    "twelve fifteen a m sharp": "12:15 a.m. sharp",
    # money
    "twenty three dollars and fifty cents": "$23.50",
    "five dollars": "$5",
    "one dollar": "$1",
    "a five dollar bill": "a $5 bill",
    "three million dollars": "$3 million",
    "ten thousand dollars": "$10,000",
    "twenty euros": "€20",
    "two pounds fifty pence": "£2.50",
    "fifty cents": "50 cents",
    # percent
    "twenty percent": "20%",
    "five per cent of them": "5% of them",
    "two point five percent": "2.5%",
    # digits
    "five five five one two one two": "555-1212",
    "room two oh five": "room 205",
    "one nine eight four": "1984",
    # titles
    "mister smith and missus smith": "Mr. smith and Mrs. smith",
}

STAYS = [
    "one of them",
    "no one knew",
    "two or three",
    "three",
    "a hundred",
    "hundreds of thousands",
    "a thousand times",
    "half past three",
    "half past ten",
    "quarter past twelve",
    "ten past three",
    "twenty to four",
    "ten o'clock",
    "one two three",
    "first of all",
    "the second one",
    "two thirds",
    "one third",
    "twenty thirds",
    "he may first go",
    "they march second to none",
    "fifteen twenty minutes",
    "five pounds of flour",
    "one twenty one",
    "the twenties",
    "for a second",
    "i said so",
    "to be or not to be",
    "point taken",
    "oh no",
    "seven eleven",
    "mister",
]


def write_figures(text: str) -> str:
    """A text of words in lower case with figures."""
    words = text.split()
    for start, end, figure in reversed(find_figures(words)):
        words[start:end] = [figure]
    return " ".join(words)


@pytest.mark.parametrize("spoken", WRITTEN)
def test_figures_are_written(spoken):
    assert write_figures(spoken) == WRITTEN[spoken]


@pytest.mark.parametrize("words", STAYS)
def test_other_number_words_stay_words(words):
    assert write_figures(words) == words


def test_a_figure_says_which_words_it_stands_for():
    words = ["it", "cost", "twenty", "three", "dollars", "and", "fifty", "cents", "in", "all"]
    assert find_figures(words) == [(2, 8, "$23.50")]
    assert find_figures(["at", "five", "p", "m"]) == [(1, 2, "5"), (2, 4, "p.m.")]
    assert words[2:8] == ["twenty", "three", "dollars", "and", "fifty", "cents"]


@pytest.mark.parametrize("words", [*WRITTEN, *STAYS])
def test_settled_words_stay_as_they_are_whatever_follows(words):
    """Every word of the table may follow, and any prefix is written like the same words of the whole."""
    split = f"so {words} was it".split()
    whole = find_figures(split)
    for end in range(len(split) + 1):
        settled = num_settled(split[:end])
        assert find_figures(split[:settled]) == [figure for figure in whole if figure.end <= settled]
        assert not [figure for figure in whole if figure.start < settled < figure.end]
