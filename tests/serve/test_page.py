"""The page of the server, in Chromium: what its user sees is what the models say, and all of it can be reached."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soxr
import tones

import browser
import small_forecaster
from recitative.anomaly.detector import Threshold
from recitative.audio.files import read_audio, write_wav
from recitative.model.export import export_model
from recitative.music.midi import parse_midi, read_midi, write_midi
from recitative.music.piece import Note, Piece

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


def test_the_page_hears_words_and_sounds_and_transcribes_recordings_with_hot_words(sounds, microphone, tmp_path):
    recording = DIGITS / "af_alloy-00.ogg"
    with serving("an4-streaming", *sounds) as url, browser.open_page(f"{url}/", microphone) as page:
        page.wait_for("!document.getElementById('live').hidden", SLOW_S)
        assert page.text("#models").startswith("an4-streaming, 195 ms of look-ahead · tones.onnx")
        assert page.run("document.getElementById('music').hidden")
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

        for style in ("srt", "vtt"):
            found = page.download(f"[data-format={style}]", "", made(tmp_path / style)).read_text()
            assert found == transcript(url, recording, hotwords="oh:20", response_format=style)
        page.run("document.querySelector('#transcript .word').textContent = 'A < b'")
        page.run("document.querySelector('#transcript .word').after(' hello')")
        edited = json.loads(page.download("[data-format=json]", "", made(tmp_path / "json")).read_text())
        assert (edited["schema"], edited["model"], edited["file"]) == (1, "an4-streaming", "af_alloy-00.ogg")
        first, added, second = edited["segments"][0]["words"][:3]
        assert (first["word"], added["word"], added["confidence"]) == ("A < b", "hello", None)
        assert (added["start"], added["end"]) == (first["end"], second["start"])
        assert edited["segments"][0]["text"].startswith(f"A < b hello {second['word']}")
        assert "A &lt; b hello" in page.download("[data-format=vtt]", "", made(tmp_path / "edited")).read_text()

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
    text: str = answer.text if "response_format" in fields else answer.json()["text"]
    return text


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_page_needs_nothing_from_elsewhere():
    for path in (Path(__file__).parents[2] / "pipeline/recitative/serve/page").iterdir():
        assert "https://" not in path.read_text(), path


def test_the_page_writes_plays_edits_compares_and_rewrites_music(microphone, tmp_path):
    with serving("chorales", "chorales-fill") as url, browser.open_page(f"{url}/", microphone) as page:
        page.wait_for("!document.getElementById('music').hidden", SLOW_S)
        page.resize(1200, 1400)
        assert page.run("['speech', 'live', 'recording'].every((id) => document.getElementById(id).hidden)")

        request = {"bars": 2, "key": "G", "tempo": 20, "seed": 7, "ending": "cadence"}
        for field, value in request.items():
            page.fill(f"#{field}", str(value))
        page.click("#generate")
        wait_for_drafts(page, 1)
        answer = httpx.post(f"{url}/v1/music", json=request, timeout=SLOW_S).json()
        first = parse_midi(b64decode(answer["midi"]), "the answer", 48)
        assert downloaded(page, 1, tmp_path / "first").notes == first.notes

        page.run("document.querySelector('.roll svg').focus()")
        page.press("n")
        assert selected(page).startswith("Soprano, ")
        page.press("ArrowUp")
        assert selected(page).endswith(", kept")
        page.press("Escape")
        left, top, _, height = page.box(".note.voice-3 rect")
        page.drag((left + 4, top + 4), (left + 4, top + 4 - 2 * height))
        edited = downloaded(page, 1, tmp_path / "edited").notes
        assert pitches(edited) == pitches(first.notes, (1, 0, 0, 2))
        page.press("Delete")
        assert len(downloaded(page, 1, tmp_path / "deleted").notes) == len(first.notes) - 1
        page.press("z", modifiers=browser.CTRL)
        assert downloaded(page, 1, tmp_path / "undone").notes == edited

        left, top, width, height = page.box(".roll svg")
        page.drag((left + 100, top + height - 2), (left + 100, top + height - 2))
        assert page.run("Math.abs(document.querySelector('.playhead').getAttribute('x1') - 100) < 1")
        page.drag((left + 36, top + 16), (left + width / 2, top + height - 2))
        page.press("k")
        page.click(".draft button", "Rewrite the rest")
        wait_for_drafts(page, 2)
        kept = {note for note in edited if note.start < first.length / 2}
        rewritten = downloaded(page, 2, tmp_path / "rewritten").notes
        assert kept <= set(rewritten) != set(edited)

        for number in (1, 2):
            page.click(f"{draft(number)} button", "Play")
            line = f"document.querySelector('{draft(number)} .playhead')"
            page.wait_for(f"Number({line}.getAttribute('x1')) > 60", SLOW_S)
        assert [page.text(f"{draft(number)} button") for number in (1, 2)] == ["Play", "Pause"]
        page.click(".voice", "Alto")
        assert page.run("document.querySelectorAll('.note.muted').length") == sum(n.voice == 1 for n in edited)

        write_midi(
            Piece.of([Note(48 * i, pitch, 48) for i, pitch in enumerate((67, 69, 66, 67))], 48, 100, "tune"),
            tmp_path / "tune.mid",
        )
        page.take_file("#drop-midi input", tmp_path / "tune.mid")
        wait_for_drafts(page, 3)
        page.click(".draft button", "Harmonize")
        wait_for_drafts(page, 4)
        (tmp_path / "zip").mkdir()
        with zipfile.ZipFile(page.download("#zip", "", tmp_path / "zip")) as drafts:
            assert drafts.testzip() is None
            assert drafts.namelist() == ["draft-3.mid", "draft-4.mid", "draft-1.mid", "draft-2.mid"]
            harmonized = parse_midi(drafts.read("draft-4.mid"), "draft-4", 48)
        assert [note.pitch for note in harmonized.notes if note.voice == 0] == [67, 69, 66, 67]
        assert harmonized.voices == 4

        page.take_file("#drop-midi input", microphone)
        told = page.wait_for("document.getElementById('problem').innerText")
        assert told == "digits.wav is not a MIDI file that can be read."
        assert_usable(page)


def wait_for_drafts(page: browser.Page, count: int) -> None:
    problem = "!document.getElementById('problem').hidden"
    page.wait_for(f"{problem} || document.querySelectorAll('.draft').length === {count}", SLOW_S)
    page.wait_for("document.getElementById('composing').hidden")
    assert page.run("document.getElementById('problem').hidden"), page.text("#problem")


def draft(number: int) -> str:
    return f".draft[aria-labelledby=draft-{number}-title]"


def selected(page: browser.Page) -> str:
    label: str = page.run("document.querySelector('.note[aria-selected=true]').ariaLabel")
    return label


def downloaded(page: browser.Page, number: int, folder: Path) -> Piece:
    """The MIDI file of a draft."""
    folder.mkdir()
    path = page.download(f"{draft(number)} button", "MIDI", folder)
    return read_midi(path, 48)


def pitches(notes: Sequence[Note], raised: tuple[int, int, int, int] = (0, 0, 0, 0)) -> list[list[int]]:
    """Of each voice in order, the first one raised by so many semitones."""
    voices = [[note.pitch for note in notes if note.voice == voice] for voice in range(4)]
    return [[first + more, *others] for (first, *others), more in zip(voices, raised, strict=True)]
