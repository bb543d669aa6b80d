"""``recitative lexicon``, ``tokens --unit phone`` and ``check --lexicon`` as a user calls them."""

import pytest

from command_line import refusal, run
from recitative.text.tokens import Lexicon, TokenTable, read_dictionary
from small_corpus import TEXTS, make_corpus

CMU = """;;; a comment, words and all
THE  DH AH0
THE(2)  DH AH1
THE(3)  DH IY0
CAT  K AE1 T # animal, small
SAT  S AE1 T
SAT  S AE1 T

'BOUT  B AW1 T
F(X)  EH1 F
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text").write_text("u1 the cat sat\nu2 the cat\n")
    (tmp_path / "more").write_text("u1 the cow the cow\nu2 ox\n")
    (tmp_path / "cmu").write_text(CMU)
    TokenTable.from_texts(["the cat sat"]).write(tmp_path / "tokens.txt")
    return tmp_path


def lexicon(place, *arguments, status=0):
    return run("lexicon", *arguments, "--output", place / "lexicon.txt", status=status)


def refused(place, *arguments, status=1):
    return refusal("lexicon", *arguments, "--output", place / "lexicon.txt", status=status)


def entries(place):
    return dict(Lexicon.read(place / "lexicon.txt").entries)


def test_variants_comments_and_case_of_cmus_dictionaries_are_understood(place):
    assert read_dictionary(place / "cmu", lower=True).entries == {
        "the": (("DH", "AH"), ("DH", "IY")),
        "cat": (("K", "AE", "T"),),
        "sat": (("S", "AE", "T"),),
        "'bout": (("B", "AW", "T"),),
        "f(x)": (("EH", "F"),),
    }
    assert "THE" in read_dictionary(place / "cmu").entries


def test_stress_is_kept_on_request_and_other_digits_always(place):
    stressed = read_dictionary(place / "cmu", keep_stress=True).entries
    assert stressed["THE"] == (("DH", "AH0"), ("DH", "AH1"), ("DH", "IY0"))
    done = lexicon(place, place / "data", "--dictionary", place / "cmu", "--lower", "--keep-stress")
    assert "3 words, 5 pronunciations" in done.out
    (place / "tones").write_text("ma m a1\nmi M IY3 AH1 X0\n")
    assert read_dictionary(place / "tones").entries == {"ma": (("m", "a1"),), "mi": (("M", "IY3", "AH", "X0"),)}


def test_the_words_of_the_transcripts_are_kept_with_all_their_pronunciations(place):
    done = lexicon(place, place / "data", "--dictionary", place / "cmu", "--lower")
    assert entries(place) == {
        "cat": (("K", "AE", "T"),),
        "sat": (("S", "AE", "T"),),
        "the": (("DH", "AH"), ("DH", "IY")),
    }
    assert done.out == f"{place}/lexicon.txt: 3 words, 4 pronunciations, 0 words out of vocabulary\n"
    assert done.err == ""


def test_a_written_lexicon_is_a_dictionary_too(place):
    lexicon(place, place / "data", "--dictionary", place / "cmu", "--lower")
    first = (place / "lexicon.txt").read_bytes()
    (place / "lexicon.txt").rename(place / "own")
    lexicon(place, place / "data", "--dictionary", place / "own")
    assert (place / "lexicon.txt").read_bytes() == first


def test_all_words_of_the_dictionary_may_be_kept(place):
    done = lexicon(place, place / "data", "--dictionary", place / "cmu", "--lower", "--whole")
    assert set(entries(place)) == {"the", "cat", "sat", "'bout", "f(x)"}
    assert ": 5 words, 6 pronunciations, 0 words" in done.out


def test_words_out_of_vocabulary_are_reported_the_most_frequent_first_and_refused(place):
    done = lexicon(place, place / "data", place / "more", "--dictionary", place / "cmu", "--lower", status=1)
    expected = "cmu: lacks 2 words of the transcripts (3 of 10); all of them; add them, or give --skip-unknown"
    assert done.err.splitlines() == [
        "out of vocabulary: cow (2 times)", "out of vocabulary: ox (1 time)", f"error: {place}/{expected}"
    ]  # fmt: skip
    assert not (place / "lexicon.txt").exists()


def test_or_they_are_left_out_if_asked_for(place):
    done = lexicon(place, place / "more", "--dictionary", place / "cmu", "--lower", "--skip-unknown")
    assert set(entries(place)) == {"the"}
    assert "1 word, 2 pronunciations, 2 words out of vocabulary" in done.out
    assert "out of vocabulary: cow (2 times)" in done.err


def test_at_most_twenty_unknown_words_are_shown(place):
    (place / "more").write_text("u1 the " + " ".join(f"w{i:02d}" for i in range(25)) + "\n")
    done = lexicon(place, place / "more", "--dictionary", place / "cmu", "--lower", "--skip-unknown")
    assert len(done.err.splitlines()) == 21
    assert done.err.splitlines()[-1] == "out of vocabulary: and 5 more words"


def test_words_are_spelled_in_the_characters_of_a_table(place):
    lexicon(place, place / "data", "--tokens", place / "tokens.txt")
    assert entries(place) == {word: (tuple(word),) for word in ("the", "cat", "sat")}


def test_words_that_the_table_cannot_spell_are_named_or_left_out(place):
    done = lexicon(place, place / "more", "--tokens", place / "tokens.txt", status=1)
    assert done.err.startswith("error: word 'cow': 'o', 'w' not known; the characters of the token table")
    done = lexicon(place, place / "more", "--tokens", place / "tokens.txt", "--skip-unknown")
    assert set(entries(place)) == {"the"}
    assert done.err.splitlines() == ["out of vocabulary: cow (2 times)", "out of vocabulary: ox (1 time)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give either --dictionary (words in phones) or --tokens (words in characters)"),
        (("--dictionary", "cmu", "--tokens", "tokens.txt"), "give either --dictionary"),
        (("--tokens", "tokens.txt", "--whole"), "--whole: requires --dictionary"),
    ],
)
def test_options_that_make_no_sense_are_refused(place, options, message):
    paths = [place / option if not option.startswith("--") else option for option in options]
    assert refused(place, place / "data", *paths, status=2).startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"THE\n", "cmu:1: 'THE' has no pronunciation"),
        (b";;; one\nTHE DH AH\nTHE(2) # says what?\n", "cmu:3: 'THE' has no pronunciation"),
        (b"THE # an article\n", "cmu:1: 'THE' has no pronunciation"),
        (b"D\xc9J\xc0 D EY\n", "cmu:1: byte 0xc9 in column 2 is not UTF-8"),
        (b";;; nothing\n", "cmu: has no words"),
    ],
)
def test_a_damaged_dictionary_is_named(place, content, message):
    (place / "cmu").write_bytes(content)
    assert refused(place, place / "data", "--dictionary", place / "cmu").startswith(f"error: {place}/{message}")


def test_missing_files_are_named(place):
    told = refused(place, place / "data", "--dictionary", place / "none")
    assert told.startswith(f"error: {place}/none: does not exist")
    assert str(place / "nowhere") in refused(place, place / "nowhere", "--dictionary", place / "cmu")


def test_a_table_of_phones_is_made_from_lexicons(place):
    lexicon(place, place / "data", "--dictionary", place / "cmu", "--lower")
    (place / "other").write_text("zoo Z UW1\n")
    out = place / "phones.txt"
    done = run("tokens", place / "lexicon.txt", place / "other", "--unit", "phone", "--output", out)
    assert done.out == f"{out}: 10 tokens from 2 lexicons\n"
    table = TokenTable.read(out)
    assert table.symbols == ("<blank>", "AE", "AH", "DH", "IY", "K", "S", "T", "UW1", "Z")
    assert table.unit == "phone"


def test_phones_that_would_be_taken_for_characters_are_refused(place):
    (place / "own").write_text("the d e\n")
    told = refusal("tokens", place / "own", "--unit", "phone", "--output", place / "phones.txt", status=1)
    assert told.startswith(f"error: {place}/own: has phones that look like characters; some phones of several")
    assert not (place / "phones.txt").exists()


def test_a_lexicon_that_is_none_is_named(place):
    told = refusal("tokens", place / "none", "--unit", "phone", "--output", place / "phones.txt", status=1)
    assert told.startswith(f"error: {place}/none: does not exist")


@pytest.fixture
def corpus(tmp_path):
    """A sound corpus with phones for its words, but for one."""
    train = make_corpus(tmp_path)
    words = sorted({word for text in TEXTS.values() for word in text.split()})
    assert words == ["four", "one", "three", "two"]
    sounds = {"four": "F AO R", "one": "W AH N", "three": "TH R IY", "two": "T UW"}
    (tmp_path / "all").write_text("".join(f"{word} {phones}\n" for word, phones in sounds.items()))
    (tmp_path / "some").write_text("".join(f"{word} {sounds[word]}\n" for word in words[1:]))
    run("tokens", tmp_path / "all", "--unit", "phone", "--output", tmp_path / "phones.txt")
    return train


def test_words_that_the_lexicon_lacks_are_a_problem_of_the_data(corpus):
    folder = corpus.parent
    run("check", corpus, "--tokens", folder / "phones.txt", "--lexicon", folder / "all")
    done = run("check", corpus, "--tokens", folder / "phones.txt", "--lexicon", folder / "some", status=1)
    problem = "has 'four', not in the lexicon; its words only; normalize the text, or make the lexicon again"
    assert problem in done.out
    assert "bert-2" in next(line for line in done.lines if problem in line)
    assert done.err.startswith(f"error: {corpus}: 1 problem found")


def test_a_recording_must_have_room_for_the_phones_of_its_words(corpus):
    folder = corpus.parent
    options = ("--tokens", folder / "phones.txt", "--lexicon", folder / "all", "--subsampling", 10)
    done = run(
        "check", corpus, *options, status=1
    )  # half a second gives 4 or 5 frames: 'one two' needs 5, 'four one' 6
    short = [line for line in done.lines if "is too short" in line]
    assert any("for 6 labels and 0 repeats" in line for line in short)
    assert not any("three" in line or "for 3 labels" in line for line in short)


def test_a_lexicon_needs_the_table_and_its_phones(corpus):
    folder = corpus.parent
    told = refusal("check", corpus, "--lexicon", folder / "all")
    assert told == "error: --lexicon requires --tokens, the token table of its phones"
    (folder / "some").write_text("one W AH M\n")
    told = refusal("check", corpus, "--tokens", folder / "phones.txt", "--lexicon", folder / "some", status=1)
    assert told.startswith(f"error: {folder}/some:1: 'one' has 'M', not in the token table")
