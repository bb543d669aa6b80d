"""Input files are read with limits, and what cannot be read is one error that says why."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from recitative import reading
from recitative.errors import DataError


def _made(content: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "a").write_bytes(content)
        return str(folder / "a")

    return make


UNREADABLE = {
    "missing": (lambda folder: str(folder / "none"), "none: does not exist; a text; correct the path"),
    "folder": (str, "is a folder; a text; give the path of a file"),
    "device": (lambda folder: "/dev/zero", "/dev/zero: is a device or a socket; a text: a file or a pipe"),
    "NUL in the name": (lambda folder: f"{folder}/a\0b", r"a\x00b: is not a valid file name"),
    "long name": (lambda folder: "a" * 5000, "aaa: cannot be read (File name too long)"),
    "an unpaired surrogate in the name": (lambda folder: f"{folder}/\ud800", "is not a valid file name"),
    "Windows-1252": (
        _made(b"one\ndon\x92t go\n"),
        'a:2: byte 0x92 in column 4 is not UTF-8; as Windows-1252 the line reads "don\u2019t go"; UTF-8; if '
        "that is right, convert it: iconv -f CP1252 -t UTF-8",
    ),
    "another encoding": (_made("приве\u045fт".encode("cp1251") + b"\x81"), "is not UTF-8; UTF-8; convert the file"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    make, message = UNREADABLE[kind]
    with pytest.raises(DataError) as caught:
        reading.read_text(make(tmp_path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16le", "utf-16be", "utf-32"])
def test_text_is_read_without_its_mark(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("café don\u2019t\n".encode(encoding))
    assert reading.read_text(tmp_path / "a") == "café don\u2019t\n"


def test_a_pipe_is_read_like_a_file_up_to_the_limit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for limit in (100, 3):
        writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"go on"))
        writer.start()
        if limit == 100:
            assert reading.read_bytes(tmp_path / "pipe", limit=limit) == b"go on"
        else:
            with pytest.raises(DataError, match="has more than 3 bytes"):
                reading.read_bytes(tmp_path / "pipe", limit=limit)
        writer.join()


def test_a_file_above_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="has more than 4096 MiB"):
        reading.read_bytes(tmp_path / "a")


def test_lines_come_with_their_ends_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\n\ntwo")
    (tmp_path / "b").write_bytes(gzip.compress(b"one\n\ntwo"))
    assert [*reading.read_lines(tmp_path / "a")] == [*reading.read_lines(tmp_path / "b")] == [b"one\n", b"\n", b"two"]


def test_gzip_that_unpacks_to_far_more_than_its_size_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_GZIP_FREE", 1 << 16)
    bomb = gzip.compress(b"\n" * (1 << 20))
    (tmp_path / "a").write_bytes(bomb)
    for read in (lambda: [*reading.read_lines(tmp_path / "a")], lambda: reading.unpacked(bomb, "a")):
        with pytest.raises(DataError, match="a: has more than"):
            read()
    monkeypatch.setattr(reading, "LONGEST_LINE", 1 << 10)
    (tmp_path / "a").write_bytes(b"a" * 5000)
    with pytest.raises(DataError, match="a:1: has more than 1024 bytes"):
        [*reading.read_lines(tmp_path / "a")]


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(500))
    (tmp_path / "a").write_bytes(whole[:300])
    with pytest.raises(DataError, match="is damaged"):
        [*reading.read_lines(tmp_path / "a")]
    with pytest.raises(DataError, match="is damaged gzip"):
        reading.unpacked(whole[:300], "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "is nested too deeply"),
        ("[" * 100 + "]" * 100, "is nested too deeply"),
        ('{"a": 1', "is not JSON (Expecting"),
        ("[" + "9" * 5000 + "]", "is not JSON (the number 99999999999999999999... is too large)"),
        ("[-9999999999999999999]", "is too large"),
        (r'["\ud800"]', "has an unpaired surrogate"),
        ("", "is not JSON"),
        ("[1, \0]", "is not JSON"),
    ],
)
def test_json_that_nothing_can_hold_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        reading.parsed_json(text, "a")
    assert message in str(caught.value)


def test_json_is_read_as_it_is() -> None:
    text = r'{"a": [1, 2.5, "\ud83d\ude00 9999999999999999999999"], "b": 9223372036854775807}'
    assert reading.parsed_json(text, "a") == {"a": [1, 2.5, "\U0001f600 9999999999999999999999"], "b": 2**63 - 1}


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 50_000, "is nested too deeply"),
        ("a:\n" + "".join(" " * n + "a:\n" for n in range(1, 900)), "is nested too deeply"),
        (BOMB, "its aliases expand to too many nodes"),
        ("a: &a [*a]", "a part of it contains itself"),
        ("a: 2024-99-99", "is not YAML (month must be in 1..12"),
        ("a: !!int x", "is not YAML (invalid literal"),
        ("a: !!bool maybe", "is not YAML"),
        ("a: !!timestamp maybe", "is not YAML"),
        ("a: " + "9" * 5000, "is not YAML"),
        ("a: [1", "x:1: is not YAML (expected ',' or ']'"),
        ("a: \0", "is not YAML"),
        ("{[1]: 2}", "is not YAML (found unhashable key"),
        ("a: !!python/object:os.system x", "is not YAML (could not determine a constructor"),
    ],
)
def test_yaml_that_nothing_can_hold_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        reading.parsed_yaml(text, "x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_is_read_as_it_is() -> None:
    assert reading.parsed_yaml("a: &x {b: 1}\nc: *x\nd: [*x, *x]\n", "x") == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": [{"b": 1}, {"b": 1}],
    }


def test_names_that_no_file_can_have_are_not_there() -> None:
    assert not any(reading.exists(name) or reading.is_file(name) for name in ("a\0b", "a" * 5000, "\ud800"))


@dataclass(frozen=True)
class _Row:
    step: int


def test_a_kind_of_row_is_analyzed_once_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    analyzed: list[type] = []
    monkeypatch.setattr(reading, "TypeAdapter", lambda kind: analyzed.append(kind) or TypeAdapter(kind))
    rows = [reading.checked(_Row, {"step": step}, "log:1", "a row", "remove it") for step in range(3)]
    assert rows == [_Row(0), _Row(1), _Row(2)]
    assert analyzed == [_Row]
