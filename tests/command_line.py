"""Runs the command line in this process."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from recitative.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command has written, and its exit status. content: standard output as bytes"""

    content: bytes
    err: str
    status: int

    @property
    def out(self) -> str:
        return self.content.decode("utf-8", "surrogateescape")

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: object, status: int | None = 0) -> Ran:
    """``recitative ARGUMENTS``, which must end with this exit status. None: with any"""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    words = ["recitative", *map(str, arguments)]
    with patch.multiple(sys, argv=words, stdout=out, stderr=err), pytest.raises(SystemExit) as stop:
        main()
    told = err.buffer.getvalue().decode("utf-8", "surrogateescape")
    ran = Ran(out.buffer.getvalue(), told, int(stop.value.code or 0))
    assert status in (None, ran.status), ran
    return ran


def refusal(*arguments: object, status: int = 2) -> str:
    """The only line on stderr of a command that ends with this status."""
    (line,) = run(*arguments, status=status).err.splitlines()
    assert line.startswith("error: ")
    return line
