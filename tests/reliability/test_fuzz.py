"""Damaged inputs for every reader, and malformed messages and uploads for the server; the same ones every time."""

from __future__ import annotations

from pathlib import Path

import fuzz
import fuzz_server
import pytest
from amounts import amount

from recitative.decoding.hotwords import Grammar
from recitative.errors import DataError, UsageError


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_damaged_inputs_are_read_or_refused_with_an_error_of_our_own(reader: str, tmp_path: Path) -> None:
    found = fuzz.try_all(amount(3, 300), 1, tmp_path, reader, exactly=True)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("processes", [1, 2])
def test_malformed_messages_and_uploads_are_answered_or_refused(tmp_path: Path, processes: int) -> None:
    with fuzz_server.serving(tmp_path, processes) as service:
        assert fuzz_server.try_all(service, amount(40, 5000), 1) == []


DEEP = {
    "groups": "(" * 5000 + "a" + ")" * 5000,
    "options": "[" * 5000 + "a" + "]" * 5000,
    "rules": "$r0\n" + "".join(f"$r{number} = $r{number + 1}\n" for number in range(5000)) + "$r5000 = a\n",
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_grammar_that_is_nested_too_deeply_is_refused(kind: str) -> None:
    with pytest.raises(DataError, match="is nested too deeply; at most 64 levels of groups and rules"):
        Grammar(DEEP[kind])


def test_a_device_is_not_read_until_memory_is_full() -> None:
    for read in (fuzz.load_settings, fuzz.read_arpa, fuzz.TokenTable.read, fuzz.read_results, fuzz.read_ctm):
        with pytest.raises((DataError, UsageError), match="/dev/zero: is a device or a socket; "):
            read(Path("/dev/zero"))  # type: ignore[operator]
