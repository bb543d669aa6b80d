"""axe-core finds no fault in the page of the server, in reports and in the manual, in light and dark, in Chromium.

axe-core is not part of the repository. ``npm pack axe-core`` gets it; RECITATIVE_AXE is the path of its axe.min.js.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import tones

import browser
from command_line import run
from recitative.audio.files import write_wav
from recitative.config import dump_settings
from recitative.model.export import export_model
from recitative.music.midi import write_midi
from recitative.music.piece import from_grid, tied

AXE = os.environ.get("RECITATIVE_AXE", "")
RULES = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"

pytestmark = [
    pytest.mark.skipif(not browser.find(), reason="needs Chromium"),
    pytest.mark.skipif(not AXE, reason="RECITATIVE_AXE is not set: the path of axe-core's axe.min.js"),
]


def faults(page: browser.Page) -> list[str]:
    """What axe finds in the page, in both color schemes."""
    found = []
    page.run(f"eval({json.dumps(Path(AXE).read_text(encoding='utf-8'))})")
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        options = f"{{resultTypes: ['violations'], runOnly: {{type: 'tag', values: {RULES}}}}}"
        for fault in page.run(f"axe.run(document, {options}).then((found) => found.violations)"):
            places = [node["target"][-1] + ": " + node["failureSummary"] for node in fault["nodes"]]
            found.append(f"{scheme}: {fault['id']}, {len(places)} places, {places[:3]}")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small models of each kind that has a report, and what they gave."""
    place = tmp_path_factory.mktemp("pages")
    config = tiny.settings(train={"epochs": 1})
    inputs = tiny.write_inputs(place / "made", config, train=6, dev=3)
    (place / "conf.yaml").write_text(dump_settings(config))
    tables = [word for name, path in inputs.items() for word in (f"--{name}", path)]
    run("train", place / "conf.yaml", *tables, "--output", place / "exp", "--quiet")
    run("average", place / "exp")
    run("decode", place / "exp/model", inputs["dev"], "--output", place / "exp/decode_dev")
    run("score", inputs["dev"], place / "exp/decode_dev/text", "--output", place / "exp/decode_dev")
    labeled = tones.write_corpus(place / "tones", each=1)
    run("train", "kind=classifier", "--train", labeled, "--dev", labeled, "--output", place / "labels", *tones.TINY)
    grid = np.array([[64, 60, 57], [64, 60, 57], [65, 60, 57], [62, 59, 55]] * 2, np.int16)
    for name, up in (("one", 0), ("two", 1)):
        write_midi(from_grid(tied(grid + up), 4, name=name), place / "songs" / f"{name}.mid")
    return place


REPORTS = {
    "experiment": ["report", "exp"],
    "classifier": ["report", "labels/model", "tones/data", "--output", "page.html"],
    "music": ["report", "songs", "--originals", "songs", "--output", "page.html"],
    "new music": ["generate", "music", "songs/one.mid", "--bars", "1", "--output", "new"],
}


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_has_no_fault(folder, monkeypatch, report):
    monkeypatch.chdir(folder)
    run(*REPORTS[report])
    page = {"experiment": "exp/report.html", "new music": "new/index.html"}.get(report, "page.html")
    with browser.open_page((folder / page).as_uri()) as opened:
        assert faults(opened) == []
        assert not opened.problems


def test_the_explorer_has_no_fault(folder, monkeypatch):
    monkeypatch.chdir(folder)
    command = [sys.executable, "-m", "recitative", "explore", "exp", "--compare", "exp", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = server.stderr.readline().split(" at ")[1].split()[0]
            with browser.open_page(url) as page:
                page.wait_for("document.querySelectorAll('.panel article').length", 300)
                assert faults(page) == []
                assert not page.problems
        finally:
            server.kill()


def test_the_page_of_the_server_has_no_fault(folder):
    models = [folder / "words.onnx", folder / "tones.onnx", "chorales"]
    export_model(tiny.recognizer(recurrent={"direction": "forward", "layers": 1, "hidden": 8}), models[0])
    export_model(tones.classifier(), models[1])
    recording = folder / "a.wav"
    write_wav(recording, tiny.speak("cab bca b", np.random.default_rng(1)), tiny.RATE)
    options = [word for model in models for word in ("--model", str(model))]
    command = [sys.executable, "-m", "recitative", "serve", *options, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = server.stderr.readline().split(" at ")[1].split()[0]
            with browser.open_page(f"{url}/") as page:
                page.wait_for("!document.getElementById('live').hidden", 300)
                found = faults(page)
                page.take_file("#file", recording)
                page.wait_for("!document.getElementById('downloads').hidden", 300)
                page.fill("#bars", "1")
                page.click("#generate")
                page.wait_for("document.querySelectorAll('.draft').length", 300)
                assert [*found, *faults(page)] == []
                assert not page.problems
        finally:
            server.kill()


def test_the_manual_has_no_fault(tmp_path):
    docs = Path(__file__).resolve().parents[1] / "tools" / "docs"
    environment = {**os.environ, "PAGES": str(tmp_path / "pages"), "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([sys.executable, docs / "pages.py", tmp_path / "pages"], check=True)
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path / "site"]
    subprocess.run([*build, "--config-file", docs / "mkdocs.yml"], env=environment, check=True)
    found = []
    for name in ("index", "results", "music", "ideas", "contributing", "reference/commands", "reference/python"):
        with browser.open_page((tmp_path / "site" / f"{name}.html").as_uri()) as page:
            page.run(
                "document.head.insertAdjacentHTML('beforeend', '<style>* { transition: none !important }</style>')"
            )
            for colors in ("default", "slate"):
                page.run(f"document.body.setAttribute('data-md-color-scheme', '{colors}')")
                # The theme puts the buttons that copy into landmarks without names.
                found += [(name, colors, fault) for fault in faults(page) if "landmark-unique" not in fault]
    assert found == []
