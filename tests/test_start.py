"""Verbs that are imported alone are those of the whole command line, and leave the others out."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from recitative.cli import start
from recitative.cli.main import app
from recitative.cli.start import ALONE


@pytest.mark.parametrize("verb", ALONE)
def test_a_verb_alone_is_that_of_the_command_line(verb: str) -> None:
    assert getattr(import_module(ALONE[verb]), verb) in [command.callback for command in app.registered_commands]


def test_transcribing_imports_no_other_verb() -> None:
    program = (
        "import sys\n"
        "from recitative.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    other = {'cli.main', 'cli.train', 'music.midi', 'kinds'} & {name[11:] for name in sys.modules}\n"
        "    sys.exit(end.code or (f'loaded: {sorted(other)}' if other else 0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "transcribe", "-h"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "transcribe [OPTIONS]" in done.stdout
    assert "--lexicon" in done.stdout


def test_paragraphs_of_help_are_as_wide_as_the_terminal_and_examples_keep_their_lines(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        start.run(lambda standalone_mode: app(["data", "import", "--help"], standalone_mode=standalone_mode))
    text = capsys.readouterr().out
    assert "Transcripts become lower case without punctuation. Recordings of another sample rate or with" in text
    assert "\n recitative data import recordings data/all --table recordings/words.csv" in text


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_an_error_of_the_program_itself_is_one_line_and_a_traceback_only_with_debug(monkeypatch, capsys, options):
    def fails() -> None:
        raise ZeroDivisionError("division by zero")

    app = start.new_app()
    app.command("fails")(fails)
    app.command("another")(fails)
    monkeypatch.setattr(sys, "argv", ["recitative", *options, "fails"])
    with pytest.raises(ZeroDivisionError if options else SystemExit) as ended:
        start.run(app)
    if not options:
        assert ended.value.code == 1
        told = capsys.readouterr().err
        assert told.startswith("error: recitative: failed (ZeroDivisionError: division by zero at test_start.py:")
        assert told.endswith("a bug; please report it; 'recitative --debug ...' prints the traceback\n")
