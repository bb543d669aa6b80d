"""Runs the command line in this process."""

import sys

import pytest

from recitative.cli.main import main


def run(monkeypatch, *arguments):
    """The exit status of ``recitative ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["recitative", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0
