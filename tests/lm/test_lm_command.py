"""recitative lm, from texts to a model file and printed numbers."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

import command_line
from command_line import Ran
from recitative.data.tables import write_table
from recitative.lm.arpa import NgramTable, read_arpa
from recitative.lm.estimate import estimate, interpolate, prune

TEXT = {"u-1": "one two three", "u-2": "two", "u-3": "three one two"}
OTHER = {"v-1": "three two four", "v-2": "four"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_table(tmp_path / "train/text", TEXT)
    write_table(tmp_path / "other", OTHER)
    write_table(tmp_path / "dev", {"w-1": "one two", "w-2": "four"})
    (tmp_path / "plain").write_text("one two three\ntwo\n\nthree one two")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str) -> Ran:
    return command_line.run("lm", *line.split())


def refused(line: str, status: int) -> str:
    return command_line.refusal("lm", *line.split(), status=status)


def assert_same(path: Path, expected: NgramTable) -> None:
    table = read_arpa(path)
    assert table.words == expected.words
    assert len(table.orders) == len(expected.orders)
    for order, other in zip(table.orders, expected.orders, strict=True):
        assert order.log_prob == pytest.approx(other.log_prob, rel=1e-6)
        assert order.log_backoff == pytest.approx(other.log_backoff, rel=1e-6, abs=1e-12)


def test_one_text_gives_one_model_and_its_counts_and_discounts(place: Path) -> None:
    done = run("train train --output exp/lm.arpa --order 2")
    assert_same(place / "exp/lm.arpa", estimate(TEXT.values(), 2).table)
    assert done.lines == [
        "exp/lm.arpa: 2-gram model",
        "1-grams          6",
        "2-grams          8",
        "discounts of train/text: 1-grams 0.500 1.000 1.500 (too little text to measure them); "
        "2-grams 0.500 1.000 1.500 (too little text to measure them)",
    ]


def test_a_table_a_data_directory_and_plain_sentences_give_the_same_model(place: Path) -> None:
    run("train train --output a.arpa")
    run("train train/text --output b.arpa")
    done = run("train plain --plain --output c.arpa")
    assert (place / "a.arpa").read_bytes() == (place / "b.arpa").read_bytes() == (place / "c.arpa").read_bytes()
    assert "plain: 1 line without words left out" in done.err


def test_a_name_that_ends_in_gz_is_packed(place: Path) -> None:
    run("train train --output a.arpa")
    run("train train --output a.arpa.gz")
    assert gzip.decompress((place / "a.arpa.gz").read_bytes()) == (place / "a.arpa").read_bytes()


def test_several_texts_are_joined(place: Path) -> None:
    run("train train other --output lm.arpa")
    assert_same(place / "lm.arpa", estimate([*TEXT.values(), *OTHER.values()], 3).table)


def test_with_weights_they_are_mixed(place: Path) -> None:
    done = run("train train other --weights 0.7,0.3 --output lm.arpa --order 2")
    words = {word for line in (*TEXT.values(), *OTHER.values()) for word in line.split()}
    parts = [estimate(text.values(), 2, extra_words=words).table for text in (TEXT, OTHER)]
    assert_same(place / "lm.arpa", interpolate(parts, [0.7, 0.3]))
    assert "weight 0.7000 of train/text\nweight 0.3000 of other\n" in done.out


def test_a_dev_text_finds_the_weights_and_is_measured(place: Path) -> None:
    done = run("train train other --dev dev --output lm.arpa --order 2")
    weights = [float(line.split()[1]) for line in done.lines if line.startswith("weight ")]
    assert sum(weights) == pytest.approx(1, abs=1e-4)
    assert all(": perplexity " in line for line in done.lines if line.startswith("weight "))
    last = done.lines[-1]
    assert last.startswith("dev: perplexity ")
    assert ", 3 words, 2 sentences, 0 unknown, " in last
    assert run("perplexity lm.arpa dev").lines == [last]


def test_pruning_is_counted_and_measured_before_and_after(place: Path) -> None:
    done = run("train train --dev dev --prune 0.05 --output lm.arpa --order 2")
    found = estimate(TEXT.values(), 2)
    assert_same(place / "lm.arpa", prune(found.table, 0.05, found.frequencies))
    assert " of 8 before pruning" in done.out
    assert "before pruning: perplexity " in done.out


def test_minimal_counts_and_more_words(place: Path) -> None:
    (place / "words.txt").write_text("<eps> 0\none 1\nnine 2\n#0 3\n<s> 4\n</s> 5\n")
    run("train train --min-count 1,2 --order 2 --vocab words.txt --output lm.arpa")
    assert_same(place / "lm.arpa", estimate(TEXT.values(), 2, min_counts=[1, 2], extra_words=["nine", "one"]).table)


def test_the_perplexity_of_each_text_and_of_all(place: Path) -> None:
    run("train train --output lm.arpa")
    lines = run("perplexity lm.arpa train other").lines
    assert [line.split(":")[0] for line in lines] == ["train/text", "other", "together"]
    assert "(" not in lines[0]
    assert ", 4 words, 2 sentences, 2 unknown, " in lines[1]
    assert ", 11 words, 5 sentences, 2 unknown, " in lines[2]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", "--plain", "bad: has no words; a sentence in every line; fill it"),
        (b"\n\n", "--plain", "bad: has no words"),
        (b"u-1\nu-2\n", "", "bad: has no words; 'utterance words...' lines, or sentences with --plain"),
        (b"", "", "bad: is empty; one line per entry"),
        (b"one\none </s> two\n", "--plain", "bad:2: has '</s>'; words only, no sentence marks; remove it"),
        (b"u-1 <s> one\n", "", "bad:1: has '<s>'; words only, no sentence marks"),
        (b"one\ntwo\tthree\n", "--plain", "bad:2: has the blank U+0009; single spaces between words"),
        (b"one\r\n", "--plain", "bad:1: has the blank U+000D"),
        (b"one\n\xfc\n", "--plain", "bad:2: byte 0xfc in column 1 is not UTF-8; as Windows-1252 the line reads"),
        (b"two words\none here\n", "--no-plain", "bad:2: 'one' comes after 'two'"),
    ],
)
def test_a_bad_text_is_named_and_nothing_is_written(place: Path, content: bytes, options: str, message: str) -> None:
    (place / "bad").write_bytes(content)
    assert message in refused(f"train bad --output lm.arpa {options}", 1)
    assert not (place / "lm.arpa").exists()


@pytest.mark.parametrize(
    ("content", "asks"),
    [
        ("go now\nstop now\n", True),
        ("go\nit's well-known\nstop\nyes\n", True),
        ("anna-1 on now\nanna-2 stop\n", False),
        ("u1 on now\nu2 stop\n", False),
        ("go-a now\ngo-b stop\n", False),
    ],
)
def test_a_text_whose_first_column_may_be_words_is_not_read_unasked(place: Path, content: str, asks: bool) -> None:
    (place / "text.txt").write_text(content)
    if asks:
        found = "text.txt: its lines begin with words such as 'go', not with utterance ids; say --plain if every line"
        assert found in refused("train text.txt --output lm.arpa", 2)
        assert not (place / "lm.arpa").exists()
    run(f"train text.txt {'--plain' if asks else ''} --output lm.arpa")
    assert ("go" in read_arpa(place / "lm.arpa").words) == asks
    os.mkfifo(place / "pipe")
    assert "pipe: is a pipe, which can be read only once; say --plain if" in refused("train pipe --output lm.arpa", 2)


def test_a_text_that_is_not_there_is_named(place: Path) -> None:
    assert "no: does not exist; a text" in refused("train no --plain --output lm.arpa", 1)
    assert "no: does not exist" in refused("train no --output lm.arpa", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--weights 0.7,x", "--weights 0.7,x: give numbers with commas between"),
        ("--weights 0.7,0.3", "weights 0.7,0.3: 2 for 1 model;"),
        ("--min-count 1.5", "--min-count 1.5: give whole numbers"),
        ("--min-count 1,2", "minimal counts 1,2; one for each of 3 orders"),
        ("--prune -1", "pruning threshold -1; 0 or more"),
    ],
)
def test_impossible_options_are_bad_usage(place: Path, options: str, message: str) -> None:
    assert message in refused(f"train train --output lm.arpa {options}", 2)
    assert not (place / "lm.arpa").exists()


def test_an_empty_vocabulary_is_an_error(place: Path) -> None:
    (place / "words.txt").write_text("<eps> 0\n")
    assert "words.txt: has no words; one a line" in refused("train train --vocab words.txt --output lm.arpa", 1)
