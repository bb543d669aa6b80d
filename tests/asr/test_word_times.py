"""Words with times, as 'recitative align' writes them."""

import pytest

from recitative.asr.word_times import read_ctm
from recitative.errors import DataError
from recitative.text.words import Word


def test_words_are_in_the_order_of_their_times_and_sure_where_nothing_is_said_of_it(tmp_path):
    (tmp_path / "words.ctm").write_text("s 1 0.5 0.25 two\ns 1 0.0 0.5 one 0.75\nt 1 1 1 three 0.5\n")
    found = read_ctm(tmp_path / "words.ctm")
    assert found == {
        "s": [Word("one", 0.0, 0.5, 0.75), Word("two", 0.5, 0.75, 1.0)],
        "t": [Word("three", 1.0, 2.0, 0.5)],
    }


def test_every_line_that_is_no_word_is_named(tmp_path):
    (tmp_path / "words.ctm").write_text("s 1 0.05 0.15 one 0.9\ns 1 soon\ns 1 x 0.1 two\n")
    with pytest.raises(DataError, match=r"words\.ctm:2: 's 1 soon' is no word with its time; utterance") as raised:
        read_ctm(tmp_path / "words.ctm")
    assert [problem.where for problem in raised.value.problems] == [f"{tmp_path}/words.ctm:{line}" for line in (2, 3)]
