"""Files and folders that cannot be read are told in one line. Outputs that cannot be written: test_every_verb.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from privileges import unprivileged

from command_line import run

SENTENCE = Path(__file__).resolve().parents[2] / "docs" / "sentence.flac"


@pytest.mark.parametrize(
    "line",
    ["data import DIR OUT", "transcribe DIR --model an4-streaming", "music check DIR", "lm train DIR --output OUT",
     "lm perplexity DIR DIR", "check DIR"],
)  # fmt: skip
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_cannot_be_read_is_named(tmp_path, line, what):
    given = tmp_path / "given"
    if what == "folder":
        given.mkdir()
        shutil.copy(SENTENCE, given / "a.flac")
    else:
        shutil.copy(SENTENCE, given)
    given.chmod(0)
    words = [{"DIR": given, "OUT": tmp_path / "out"}.get(word, word) for word in line.split()]
    with unprivileged():
        ran = run(*words, status=None)
    given.chmod(0o700)
    assert ran.status in (1, 2)
    assert "Traceback" not in ran.err
    assert "bug" not in ran.err
    assert str(given) in ran.err
    if what == "folder":
        assert "ermission denied" in ran.err
