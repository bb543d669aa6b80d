"""The vocabulary of a language model: common symbols, the end of a sentence, and one symbol for all others."""

import pytest

from recitative.errors import DataError
from recitative.text.tokens import END, TokenTable, Vocabulary

TEXTS = ["the cat sat", "the  cat\tran", "a dog"]


def test_words_are_listed_from_the_count_on_that_is_asked_for():
    assert Vocabulary.from_texts(TEXTS, "word", 2).table.symbols == ("<blank>", " <unk>", " cat", " the")
    assert len(Vocabulary.from_texts(TEXTS, "word")) == 8  # the end, <unk>, six words


def test_characters_are_listed_with_the_space_even_if_no_text_has_one():
    assert Vocabulary.from_texts(["ab", "a"], "character", 2).table.symbols == ("<blank>", " ", "a", "\ufffd")


def test_other_symbols_become_the_unknown_symbol_and_are_counted():
    words = Vocabulary.from_texts(TEXTS, "word", 2)
    assert words.encode("the cow  cat") == [words.table.ids[" the"], words.unknown, words.table.ids[" cat"]]
    assert words.count_unknown(["the cow cow", "ran <unk>"]) == {"cow": 2, "ran": 1, "<unk>": 1}
    assert (words.knows("cat"), words.knows("cow"), words.knows("<unk>")) == (True, False, False)
    letters = Vocabulary.from_texts(["abc"], "character")
    assert letters.encode("a\nd") == [letters.table.ids["a"], letters.space, letters.unknown]
    assert (letters.knows("cab"), letters.knows("cad")) == (True, False)
    assert letters.count_unknown(["d d"]) == {"d": 2}


def test_tokens_are_written_as_a_person_writes_them():
    words, letters = Vocabulary.from_texts(TEXTS, "word"), Vocabulary.from_texts(TEXTS, "character")
    assert [words.symbol(t) for t in (END, words.unknown, words.table.ids[" dog"])] == ["</s>", "<unk>", "dog"]
    assert [letters.symbol(t) for t in (END, letters.space)] == ["</s>", " "]


@pytest.mark.parametrize("word", ["", " cat", "cat ", "the cat"])
def test_a_word_is_one_word(word):
    with pytest.raises(ValueError, match="is not one word"):
        Vocabulary.from_texts(TEXTS, "word").encode_word(word)


def test_a_recognizers_table_is_refused():
    with pytest.raises(DataError, match="has no '<unk>'; the table of a language model"):
        Vocabulary(TokenTable(("<blank>", " cat")))


def test_a_table_of_phones_is_no_vocabulary_of_text():
    with pytest.raises(DataError, match="the token table: has no '<unk>'"):
        Vocabulary(TokenTable(("<blank>", "AH", "K")))
