"""The manual's site is complete, and MkDocs, for which warnings are errors, builds it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from recitative.cli.main import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "tools/docs/pages.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(manual: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("manual") / "pages"
    manual.main(folder)
    return folder


def test_the_site_builds_without_a_warning_and_without_other_servers(pages: Path) -> None:
    site = pages.parent / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(site)]
    command += ["--config-file", str(ROOT / "tools/docs/mkdocs.yml")]
    environment = {**os.environ, "PAGES": str(pages), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    index = (site / "index.html").read_text()
    assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?://', index) == []


def test_every_verb_is_in_the_reference_with_an_example(manual: ModuleType, pages: Path) -> None:
    reference = (pages / "reference/commands.md").read_text()
    verbs = list(manual.verbs_of(typer.main.get_command(app), "recitative"))
    assert len(verbs) > 40
    for path, _ in verbs:
        name = path.removeprefix("recitative ")
        section = re.search(rf"^### {name}\n.*?(?=^##|\Z)", reference, re.M | re.S)
        assert section, name
        assert len(re.findall(rf"(?<=\n)[^\n]*\b{path}\b", section[0])) > 1, f"{name} has no example"


def test_settings_have_their_comments_and_defaults(pages: Path) -> None:
    reference = (pages / "reference/settings.md").read_text()
    assert "| `features.delta_order` | int ≥ 0, ≤ 2 | `0` | 2 appends deltas and delta-deltas |" in reference
    assert "| `train.learning_rate` | float > 0 | `0.0" in reference
    assert "## kind: classifier" in reference
    assert "| `pieces.bptt` |" in reference


def test_the_python_reference_has_what_the_package_offers(pages: Path) -> None:
    assert "::: recitative.asr.recognizer.Recognizer" in (pages / "reference/python.md").read_text()


def test_links_between_files_become_links_within_the_site(manual: ModuleType) -> None:
    text = (
        "[a](training.md#settings) [b](../recipes/own/README.md) [c](../pipeline/recitative/stage.py) [d](https://x.y)"
    )
    expected = (
        "[a](training.md#settings) [b](recipes/own.md) [c](source/pipeline/recitative/stage.py.txt) [d](https://x.y)"
    )
    assert manual.linked_within_site(text, "docs/using.md", "using.md") == expected
    assert manual.linked_within_site("```\n[a](b.md)\n```", "docs/using.md", "using.md") == "```\n[a](b.md)\n```"
