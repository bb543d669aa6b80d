"""'recitative explore': what its server answers, and its page in Chromium, with a real model and real speech."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import browser
from command_line import run
from recitative.asr.experiment import read_experiment
from recitative.asr.report import Report
from recitative.cli.options import open_named_transcriber
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from recitative.report.page import Explorer

CORPUS = Path(__file__).parents[2] / "recipes/digits/corpus"
SPEAKERS = ("af_alloy", "bf_lily")
WRONG = "af_alloy-04"  # gets a transcript that was not said
SLOW_S = 300  # the machine may be busy


class Letters:
    """Two utterances and a set that cannot be scored."""

    def page(self):
        return "<p>the page</p>"

    def detail(self, key):
        return {"a/1": "<p>one</p>", "a/2": "<p>two</p>"}[key]

    def label_scores(self, name):
        if name == "silent":
            raise DataError("set silent", "has no audio")
        for _ in range(100_000 if name == "many" else 0):
            yield "a/1", -1.0
        yield "a/1", -1.5
        yield "a/2", float("-inf")


@pytest.fixture
def server():
    with Explorer(Letters(), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_page_and_its_parts_are_served(server):
    assert httpx.get(server.url).text == "<p>the page</p>"
    assert httpx.get(f"{server.url}utterance", params={"key": "a/2"}).text == "<p>two</p>"
    lines = httpx.get(f"{server.url}labels?set=a").text.splitlines()
    assert [json.loads(line) for line in lines] == [{"key": "a/1", "score": -1.5}, {"key": "a/2", "score": None}]
    assert json.loads(httpx.get(f"{server.url}labels?set=silent").text) == {"error": "set silent: has no audio"}


@pytest.mark.parametrize("path", ["utterance?key=b", "utterance", "report.html", "../etc/passwd"])
def test_what_is_not_there_is_not_found(server, path):
    answer = httpx.get(f"{server.url}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")


def test_only_this_machine_by_its_own_name_is_answered(server):
    assert server.server_address[0] == "127.0.0.1"
    assert httpx.get(server.url, headers={"Host": f"evil.example:{server.server_port}"}).status_code == 403


def test_a_reader_who_leaves_is_no_error(server, capfd):
    for _ in range(3):
        with socket.create_connection(server.server_address) as leaving:
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
            leaving.sendall(f"GET /labels?set=many HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
            leaving.recv(1)
    assert httpx.get(server.url).status_code == 200
    time.sleep(0.5)
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_named_if_it_was_asked_for(server, monkeypatch):
    with pytest.raises(UsageError, match=f"--port {server.server_port}: Address already in use; choose another"):
        Explorer(Letters(), server.server_port)
    monkeypatch.setattr("recitative.report.page.PORT", server.server_port)
    with Explorer(Letters()) as other:
        assert other.server_port != server.server_port


@pytest.fixture(scope="module")
def experiments(tmp_path_factory) -> tuple[Path, Path]:
    """Ten recordings, one with a wrong transcript, as 'decode' left them; and with other hypotheses."""
    folder = tmp_path_factory.mktemp("explored")
    rows = (line.split("\t") for line in (CORPUS / "manifest.tsv").read_text().splitlines()[1:])
    texts = {row[0]: row[3] for row in rows}
    names = [f"{speaker}-{n:02}" for speaker in SPEAKERS for n in range(5)]
    texts |= {WRONG: "ten oh eleven"}
    utterances = [Utterance(n, n[:-3], str(CORPUS / f"audio/{n}.ogg"), text=texts[n]) for n in sorted(names)]
    DataDirectory(tuple(utterances)).write(folder / "data")
    decoded = folder / "exp/decode_test"
    run("decode", "an4-streaming", folder / "data", "--output", decoded)
    assert (decoded / "model").read_text() == "an4-streaming\n"
    shutil.copytree(folder / "exp", folder / "other")
    (folder / "other/decode_test/text").write_text("".join(f"{u.utt_id} {u.text}\n" for u in utterances))
    return folder / "exp", folder / "other"


def test_the_features_of_an_utterance_can_be_heard(experiments):
    pytest.importorskip("librosa", reason="librosa makes sound of features")
    sets = [read_experiment(experiments[0])]
    for live in (True, False):
        part = Report(sets, open_named_transcriber, live=live).detail(f"test/{WRONG}")
        assert part.count(f'aria-label="Features of {WRONG}"') == live
        assert part.count("<audio") == 1 + live


@contextmanager
def exploring(*line: str | Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address, and the process."""
    command = [sys.executable, "-m", "recitative", "explore", *map(str, line), "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        shown = process.stderr.readline()
        assert " at http://" in shown, shown
        yield shown.split(" at ")[1].split()[0], process
    finally:
        process.kill()
        process.wait()


def assert_usable(page: browser.Page) -> None:
    """No errors, a name on all that can be used, and nothing that is wider than a phone."""
    named = ("button", "checkbox", "heading", "link", "searchbox", "navigation", "columnheader")
    assert not page.problems
    assert not [role for role, name in page.accessible() if role in named and not name]
    page.resize(375, 800)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.resize(1200, 1000)


ROWS = "[...document.querySelectorAll('[data-set] tbody tr')].filter((row) => !row.hidden)"
OPENED = "document.querySelector('.panel article')?.id"
SOUND = "document.querySelector('.panel audio')"


@pytest.mark.skipif(not browser.find(), reason="needs Chromium")
def test_utterances_are_opened_heard_and_seen_worst_first(experiments):
    with exploring(experiments[0], "--compare", experiments[1]) as (url, process), browser.open_page(url) as page:
        page.resize(1200, 1000)
        first = page.run("document.querySelector('.listing a[href^=\"#test\"]').textContent")
        page.wait_for(f"{OPENED} === 'test/{first}'", SLOW_S)
        errors = page.run(
            "[...document.querySelectorAll('[data-set] tbody tr')].map((r) => Number(r.cells[4].textContent))"
        )
        assert errors == sorted(errors, reverse=True)
        assert page.run("document.querySelectorAll('.panel .aligned').length") == 2, "side by side"
        assert page.run("document.querySelectorAll('.panel svg image').length") == 3, "spectrogram, two posteriors"
        assert page.text(".contents").split("\n")[0].startswith("Error rates")

        page.press("j")
        page.wait_for(f"{OPENED} && {OPENED} !== 'test/{first}'", SLOW_S)
        assert page.run("document.activeElement.tagName") == "H3", "a screen reader is where the utterance begins"
        page.press("k")
        page.wait_for(f"{OPENED} === 'test/{first}'", SLOW_S)

        word = "document.querySelector('.panel [data-times]')"
        start, end = page.run(f"JSON.parse({word}.dataset.times)")
        page.run(f"{word}.click()")
        page.wait_for(f"!{SOUND}.paused || {SOUND}.currentTime > {start}")
        page.wait_for(f"{SOUND}.paused", 60)
        assert end - 0.01 <= page.run(f"{SOUND}.currentTime") <= end + 1
        page.run("document.querySelector('.panel .playable').scrollIntoView({block: 'center'})")
        x, y, width, height = page.box(".panel .playable")
        page.drag((x + width / 2, y + height / 2), (x + width / 2, y + height / 2))
        page.wait_for(f"Math.abs({SOUND}.currentTime / {SOUND}.duration - 0.5) < 0.5 && {SOUND}.currentTime > 0")
        page.run("document.querySelector('.panel [tabindex=\"0\"]').focus()")
        page.run(f"{SOUND}.pause()")
        page.press("Home")
        page.wait_for(f"{SOUND}.currentTime === 0")
        page.press(" ")
        page.wait_for(f"!{SOUND}.paused || {SOUND}.currentTime > 0")
        assert_usable(page)

        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr
        assert process.stderr.read() == ""


@pytest.mark.skipif(not browser.find(), reason="needs Chromium")
def test_tables_are_sorted_and_filtered_and_a_wrong_label_comes_first_by_its_score(experiments, tmp_path):
    with exploring(experiments[0]) as (url, _), browser.open_page(url) as page:
        page.wait_for(OPENED, SLOW_S)
        page.run("(box => { box.value = 'lily'; box.dispatchEvent(new Event('input', {bubbles: true})) })"
                 "(document.querySelector('[type=search]'))")  # fmt: skip
        assert page.run(f"{ROWS}.map((row) => row.cells[2].textContent)") == ["bf_lily"] * 5
        assert page.text("[data-set] .filter [role=status]") == "5 of 10"
        page.click("[data-set] .sort", "utterance")
        page.click("[data-set] .sort", "utterance")
        assert page.run("document.querySelector('[data-set] [aria-sort]').ariaSort") == "descending"
        assert page.run(f"{ROWS}[0].cells[0].textContent.trim()") == "bf_lily-04"
        page.run("(box => { box.value = ''; box.dispatchEvent(new Event('input', {bubbles: true})) })"
                 "(document.querySelector('[type=search]'))")  # fmt: skip

        page.click("[data-action=score]")
        page.wait_for("document.querySelector('[data-labels]').textContent.startsWith('10 labels scored')", SLOW_S)
        assert page.run(f"{ROWS}[0].cells[0].textContent.trim()") == WRONG
        scores = page.run(f"{ROWS}.map((row) => Number(row.querySelectorAll('.number')[4].dataset.sort))")
        assert scores == sorted(scores)
        assert scores[-1] <= 0

        assert page.run("document.querySelector('[data-action=save]').disabled")
        page.run(f"{ROWS}[0].querySelector('input').click()")
        saved = page.download("[data-action=save]", "Save 1 marked", tmp_path)
        assert (saved.name, saved.read_text()) == ("bad-labels-test.txt", f"{WRONG}\n")
        page.run("location.reload()")
        time.sleep(1)
        page.wait_for(OPENED, SLOW_S)
        assert page.run(f"document.querySelector('[value={WRONG}]').checked"), "it stays marked"
        assert_usable(page)
