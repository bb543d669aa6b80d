"""The page of the server, in Chromium: what its user sees is what the models say, and all of it can be reached."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import browser
import httpx
import numpy as np
import pytest
import soxr
import tones

import small_forecaster
from recitative.anomaly.threshold import Threshold
from recitative.audio.files import read_audio, write_wav
from recitative.export.file import export_model

pytestmark = pytest.mark.skipif(not browser.find(), reason="needs Chromium")

DIGITS = Path(__file__).parents[2] / "recipes/digits/corpus/audio"
RATE = 16000
SLOW_S = 300  # the machine may be busy
NAMED = ("button", "checkbox", "combobox", "heading", "link", "listbox", "log", "option", "spinbutton", "textbox")


@contextmanager
def serving(*models: str | Path) -> Iterator[str]:
    """The address of a server of models."""
    options = [part for model in models for part in ("--model", str(model))]
    process = subprocess.Popen(
        [sys.executable, "-m", "recitative", "serve", *options, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr
        line = process.stderr.readline()
        assert " at http://" in line, line
        yield line.split(" at ")[1].split()[0]
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def microphone(tmp_path_factory) -> Path:
    """Digits with pauses."""
    parts = []
    for name in ("af_alloy-00", "af_alloy-03"):
        samples, rate = read_audio(DIGITS / f"{name}.ogg")
        parts += [soxr.resample(samples, rate, RATE), np.zeros(2 * RATE, np.float32)]
    path = tmp_path_factory.mktemp("microphone") / "digits.wav"
    write_wav(path, np.concatenate(parts), RATE)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> list[Path]:
    """A classifier and an anomaly model to which everything is unusual."""
    folder = tmp_path_factory.mktemp("models")
    hums = small_forecaster.forecaster()
    export_model(tones.classifier(), folder / "tones.onnx")
    export_model(type(hums)(hums.settings, hums.network, Threshold(-1000.0, -1000.0, 0.01, 1)), folder / "hums.onnx")
    return [folder / "tones.onnx", folder / "hums.onnx"]


def assert_usable(page: browser.Page) -> None:
    """No errors, a name on all that can be used, and nothing that is wider than a phone."""
    assert not page.problems
    assert not [role for role, name in page.accessible() if role in NAMED and not name]
    page.resize(375, 800)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_hears_words_and_sounds_and_transcribes_recordings_with_hot_words(sounds, microphone):
    recording = DIGITS / "af_alloy-00.ogg"
    with serving("an4-streaming", *sounds) as url, browser.open_page(f"{url}/", microphone) as page:
        page.wait_for("!document.getElementById('live').hidden", SLOW_S)
        assert page.text("#models").startswith("an4-streaming, 195 ms of look-ahead · tones.onnx")
        page.fill("#hotwords", "oh:20")
        page.fill("#keywords", "zero, nine")

        page.click("#microphone")
        page.wait_for("document.getElementById('microphone').getAttribute('aria-pressed') === 'true'", SLOW_S)
        for what in ("zero.*% *words", "nine.*% *words", "(high|low|middle).*% *tones.onnx"):
            lines = "[...document.querySelectorAll('#sounds li')].map((line) => line.textContent)"
            page.wait_for(f"{lines}.some((line) => /\\d:\\d\\d.*{what}/.test(line))", SLOW_S)
        page.wait_for("document.getElementById('captions').innerText.includes('oh')", SLOW_S)
        assert page.run("document.querySelectorAll('#timeline .lane').length") == 2
        page.click("#microphone")
        page.wait_for("document.getElementById('sounds').innerText.includes('unusual sound')", SLOW_S)

        page.take_file("#file", recording)
        page.wait_for("!document.getElementById('downloads').hidden", SLOW_S)
        shown = " ".join(page.text("#transcript").split())
        assert shown == transcript(url, recording, hotwords="oh:20") != transcript(url, recording)
        assert page.run("document.querySelectorAll('#transcript .word').length") == len(shown.split())

        assert page.run("document.getElementById('problem').hidden")
        page.fill("#hotwords", "oh:99")
        page.click("#again")
        assert "weight 99 must be from 0 to 50" in page.wait_for("document.getElementById('problem').innerText", SLOW_S)
        page.problems.clear()  # the browser notes the status of the answer
        page.call("Page.reload")
        page.wait_for("document.getElementById('keywords')?.value === 'zero, nine'", SLOW_S)
        assert_usable(page)


def transcript(url: str, recording: Path, **fields: str) -> str:
    answer = httpx.post(
        f"{url}/v1/audio/transcriptions", data=fields, files={"file": recording.read_bytes()}, timeout=SLOW_S
    )
    text: str = answer.json()["text"]
    return text


def test_the_page_needs_nothing_from_elsewhere():
    for path in (Path(__file__).parents[2] / "pipeline/recitative/serve/page").iterdir():
        assert "https://" not in path.read_text(), path
