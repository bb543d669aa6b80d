"""Texts of a source in the encoding that its user names."""

from __future__ import annotations

from pathlib import Path

from recitative.errors import DataError
from recitative.reading import decoded, read_bytes


def read_encoded(path: Path, encoding: str, wanted: str, remedy: str = "correct the path") -> str:
    """The text of a file without a byte-order mark; encoding: empty for UTF-8, or UTF-16 with its mark.

    Raises DataError that names the likely encoding of a file that is not UTF-8.
    """
    content = read_bytes(path, wanted, remedy)
    if encoding:
        try:
            return content.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise DataError(f"{path}:{line}", f"is not {encoding}", "--encoding as the file has it", "") from None
    try:
        return decoded(content, str(path))
    except DataError as error:
        (problem,) = error.problems
        remedy = "if that is right, say --encoding cp1252" if "Windows-1252" in problem.found else "say --encoding NAME"
        raise DataError(problem.where, problem.found, problem.allowed, remedy) from None
