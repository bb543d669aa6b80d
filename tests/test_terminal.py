"""Results on stdout and a bar on stderr, where one of them or both are a terminal."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recitative.errors import printable
from recitative.terminal import progress_bar
from recitative.train.log import Console

LONG_LINE = "talk.flac\t" + "word " * 60  # longer than a terminal is wide, with a tab


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[list[str]]:
    """The streams of these names are one terminal; afterwards the list has what it was sent."""
    monkeypatch.setenv("TERM", "xterm")
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    ours, theirs = os.openpty()
    sent: list[str] = []
    with monkeypatch.context() as patch:
        opened = [os.fdopen(os.dup(theirs), "w", encoding="utf-8") for _ in names]
        for name, file in zip(names, opened, strict=True):
            patch.setattr(sys, name, file)
        yield sent
        for file in opened:
            file.close()
    os.close(theirs)
    received = b""
    try:
        while piece := os.read(ours, 1 << 16):
            received += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    sent.append(received.decode("utf-8").replace("\r\n", "\n"))


def show_bar_around(line: str) -> None:
    with progress_bar("work") as show:
        print(line)
        print("and more", file=sys.stderr)
        show(1, 2)
        print("unfinished", end="")


def test_standard_output_goes_where_it_was_sent_while_the_bar_is_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "results").open("w") as results:
        monkeypatch.setattr(sys, "stdout", results)
        with terminal(monkeypatch, "stderr") as sent:
            show_bar_around(LONG_LINE)
    assert (tmp_path / "results").read_text() == LONG_LINE + "\nunfinished"
    assert "work" in sent[0]
    assert "and more\n" in sent[0]


def test_results_stand_unchanged_above_the_bar_where_both_are_one_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch, "stdout", "stderr") as sent:
        show_bar_around(LONG_LINE)
    assert LONG_LINE.expandtabs(0) in sent[0].expandtabs(0)  # in one piece, whatever the terminal makes of a tab
    assert "1/2" in sent[0]
    assert sent[0].endswith("unfinished")


@pytest.mark.parametrize("name", ["x[/b].wav", "[red]loud.wav", "a:cat:.wav", "two\nlines\x1b[2J.wav"])
def test_a_bar_shows_a_name_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with terminal(monkeypatch, "stderr") as sent:
        with progress_bar(name) as show:
            show(1, 2)
        with progress_bar("work") as show:
            show(1, 2, name)
        Console().note(f"begins with {name}")
    assert sent[0].count(printable(name)) >= 3


LINES = ["a line", "another", "the last"]


def test_a_bar_within_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch, "stdout", "stderr") as sent, progress_bar("outer") as show:
        with progress_bar("inner") as show_inner:
            print(LINES[0])
            show_inner(1, 3)
            threading.Event().wait(0.4)  # the bars draw themselves four times a second
            print(LINES[1])
        show(1, 2)
        print(LINES[2])
    cleared = re.sub(r"[^\n]*\x1b\[2K", "", sent[0])  # what was drawn on a line before it was erased
    assert [line for line in cleared.splitlines() if line in LINES] == LINES
    assert "inner" in sent[0]
