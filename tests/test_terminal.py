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

from recitative import terminal as progress
from recitative.errors import printable
from recitative.terminal import clock, progress_bar, track
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


class Log:
    """What is written to stderr, which is no terminal."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd, self.text = capfd, ""

    def wait_for(self, line: str, times: int = 1) -> None:
        for _ in range(500):
            self.text += self._capfd.readouterr().err
            if self.text.count(line) >= times:
                return
            threading.Event().wait(0.02)
        raise AssertionError(self.text)


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.02)
    return Log(capfd)


def test_without_a_terminal_lines_say_how_far_long_work_is(log: Log) -> None:
    with progress_bar("transcribe", clock) as show:
        show(1265, 1800)
        log.wait_for("transcribe: 21:05 of 30:00, 0:0", times=2)
    with progress_bar("try weights"):
        log.wait_for("try weights: 0:00 so far\n")
    assert "transcribe" not in log.text.partition("try weights")[2]


def test_an_inner_bar_speaks_for_the_outer_one(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.3)
    with progress_bar("outer"):
        for _ in track(range(1), "inner", 1):
            log.wait_for("inner: 0 of 1", times=2)
    assert "outer" not in log.text


def test_short_work_writes_nothing_to_a_log(capfd) -> None:
    with progress_bar("work") as show:
        show(1, 2)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (1805.9, "30:05"), (3723, "1:02:03")])
def test_a_clock_has_minutes_and_from_an_hour_on_hours(seconds: float, text: str) -> None:
    assert clock(seconds) == text
