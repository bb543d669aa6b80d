"""Kaldi's text tables."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.data.tables import TableRow, read_table, write_table, write_tables
from recitative.errors import DataError

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
TABLES_OF_WORDS = st.dictionaries(WORDS, st.lists(WORDS, max_size=4).map(" ".join), min_size=1)


def problems_of(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_table(path)
    return [str(problem) for problem in caught.value.problems]


def test_a_row_is_a_line_number_a_key_and_the_rest(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a-1 one two\na-2\tthree \na-3\n")
    assert read_table(tmp_path / "text") == [
        TableRow(1, "a-1", "one two"),
        TableRow(2, "a-2", "three"),
        TableRow(3, "a-3", ""),
    ]


@settings(deadline=None)
@given(TABLES_OF_WORDS)
def test_written_tables_are_read_back(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("table") / "text"
    write_table(path, entries)
    assert {row.key: row.value for row in read_table(path)} == entries


@settings(deadline=None, max_examples=20)
@given(TABLES_OF_WORDS)
def test_the_order_is_that_of_sort_in_the_c_locale(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("table") / "keys"
    write_table(path, dict.fromkeys(entries, ""))
    done = subprocess.run(["sort", str(path)], env={"LC_ALL": "C"}, capture_output=True, check=True)
    assert done.stdout == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ["text: is empty; one line per entry"]),
        (b"a one\r\nb two\r\n", ["text:1: has a carriage return (CRLF)", "text:2: has a carriage return (CRLF)"]),
        (
            b"a one\nb \xfcber\n",
            ['text:2: byte 0xfc in column 3 is not UTF-8; as Windows-1252 the line reads "b über"; UTF-8'],
        ),
        (b"a one\n\nb two\n", ["text:2: is empty"]),
        (b" a one\n", ["text:1: starts with a blank"]),
        (b"a one\nb two", ["text:2: the last line has no newline"]),
        (b"a one\na two\n", ["text:2: 'a' appears again, first in line 1"]),
        (b"b one\na two\n", ["text:2: 'a' comes after 'b'; lines sorted by key in the C locale; sort with"]),
        (b"a one\nB two\n", ["text:2: 'B' comes after 'a'"]),
        (b"a o\0ne\n", ["text:1: has a zero byte"]),
        (
            b"c 1\r\nb\xff 2\nc 3\na 4",
            ["text:4: the last", "text:1: has", "text:2: byte", "text:3: 'c'", "text:4: 'a'"],
        ),
    ],
)
def test_every_fault_of_form_is_named_by_its_line(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    (tmp_path / "text").write_bytes(content)
    found = problems_of(tmp_path / "text")
    assert len(found) == len(expected)
    for problem, start in zip(found, expected, strict=True):
        assert problem.startswith(f"{tmp_path}/{start}")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "text") == [f"{tmp_path}/text: does not exist; a table of 'key value' lines; make it"]


def test_a_failed_write_leaves_the_old_tables_and_nothing_else(tmp_path: Path) -> None:
    write_tables(tmp_path, {"text": {"a": "one"}, "utt2spk": {"a": "a"}})
    with pytest.raises(DataError):
        write_tables(tmp_path, {"text": {"b": "two"}, "utt2spk": {"b": "\udc80"}})
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"text": "a one\n", "utt2spk": "a a\n"}


def test_writing_a_directory_again_removes_tables_it_no_longer_has_and_keeps_other_files(tmp_path: Path) -> None:
    write_tables(tmp_path, {"text": {"a": "one"}, "utt2dur": {"a": "1.5"}})
    (tmp_path / "notes").write_text("mine")
    write_tables(tmp_path, {"text": {"a": "one"}})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes", "text"]
