"""Reading input files: every parser gets its bytes, text, JSON or YAML from here.

Input that cannot be read is a DataError of one line: a missing file, a folder, a device, a name with a NUL or that is
too long, more bytes than a limit, gzip that unpacks to an implausible size, text that is not UTF-8, JSON and YAML that
is broken, nested too deeply or has a number that is too large. Pipes (``<(command)``, ``/dev/stdin``) are read like
files, up to a limit.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import yaml
from pydantic import TypeAdapter, ValidationError

from recitative.errors import DataError, Problem, counted, printable

T = TypeVar("T")

MIB = 1 << 20
LARGEST_FILE = 4096 * MIB
"""Bytes of a file that is read into memory."""
LARGEST_PIPE = 1024 * MIB
"""Bytes read from a pipe, whose size is unknown."""
LARGEST_SETTINGS = 64 * MIB
"""Bytes of settings, metadata, grammars and other files that people write."""
LONGEST_LINE = 64 * MIB
DEEPEST = 64
"""Brackets within brackets."""
GZIP_MAGIC = b"\x1f\x8b"
GZIP_RATIO = 100
"""Text compresses to a fifth, JSON to a twentieth: content that unpacks to more than this factor is not text."""
_GZIP_FREE = 64 * MIB  # a small file may unpack to this size whatever its ratio
_CHUNK = MIB
_MOST_NODES = 100_000  # of YAML, with aliases expanded

_BROKEN_YAML = (yaml.YAMLError, ValueError, OverflowError, KeyError, AttributeError, TypeError, IndexError)
"""Errors of PyYAML, including those of its constructors for numbers and dates."""


@contextmanager
def opened(path: str | Path, wanted: str = "a file", remedy: str = "correct the path") -> Iterator[BinaryIO]:
    """Open a file or pipe for reading. An OSError while it is open becomes a DataError too."""
    try:
        _require_readable(path, wanted, remedy)
        with open(path, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise DataError(shown(path), "does not exist", wanted, remedy) from None
    except OSError as error:
        raise DataError(shown(path), f"cannot be read ({error.strerror or error})", wanted, remedy) from None


def read_bytes(
    path: str | Path, wanted: str = "a file", remedy: str = "correct the path", *, limit: int = LARGEST_FILE
) -> bytes:
    """The content of a file, or of a pipe until it ends. Raises DataError; see the module."""
    with opened(path, wanted, remedy) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            return _read_up_to(stream, min(limit, LARGEST_PIPE), shown(path))
        if status.st_size > limit:
            raise _too_large(shown(path), limit)
        return stream.read()


def read_text(
    path: str | Path, wanted: str = "a text", remedy: str = "correct the path", *, limit: int = LARGEST_FILE
) -> str:
    """The content as text without a byte-order mark. Raises DataError; see the module."""
    return decoded(read_bytes(path, wanted, remedy, limit=limit), shown(path))


def read_json(path: str | Path, wanted: str = "JSON", remedy: str = "correct the path") -> Any:
    """The value of a JSON file. Raises DataError; see the module."""
    return parsed_json(read_text(path, wanted, remedy, limit=LARGEST_SETTINGS), shown(path), wanted)


def read_yaml(path: str | Path, wanted: str = "YAML", remedy: str = "correct the path") -> Any:
    """The value of a YAML file. Raises DataError; see the module."""
    return parsed_yaml(read_text(path, wanted, remedy, limit=LARGEST_SETTINGS), shown(path), wanted)


def read_json_lines(path: str | Path, wanted: str, remedy: str = "make it again") -> Iterator[tuple[str, Any]]:
    """(file:line, value) of each line that is not empty. Raises DataError; see the module."""
    for number, line in enumerate(read_text(path, wanted, remedy).split("\n"), start=1):
        if line.strip():
            yield (where := f"{shown(path)}:{number}"), parsed_json(line, where, wanted)


def checked(kind: type[T], value: Any, where: str, wanted: str, remedy: str) -> T:
    """A value of JSON or YAML as a dataclass. Raises DataError that names the first field of another type."""
    try:
        parsed: T = _adapter(cast(Any, kind)).validate_python(value)
        return parsed
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        found = f"'{shown(field)}': {first['msg'][:1].lower()}{first['msg'][1:]}"
        if not field:
            found = f"has a {type(value).__name__}"
        raise DataError(where, found, wanted, remedy) from None


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """Built once: for each line of a long log it would take minutes."""
    return TypeAdapter(kind)


def read_lines(path: str | Path, wanted: str = "a text", remedy: str = "correct the path") -> Iterator[bytes]:
    """The lines of a file or pipe, with line ends, unpacked if it is gzip, in constant memory.

    Raises DataError; see the module.
    """
    with opened(path, wanted, remedy) as raw:
        status = os.fstat(raw.fileno())
        is_packed = isinstance(raw, io.BufferedReader) and raw.peek(2)[:2] == GZIP_MAGIC
        most = _most_unpacked(status.st_size) if stat.S_ISREG(status.st_mode) else LARGEST_PIPE
        stream = gzip.GzipFile(fileobj=raw) if is_packed else raw
        number, total = 0, 0
        try:
            while line := stream.readline(LONGEST_LINE + 1):
                number, total = number + 1, total + len(line)
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{shown(path)}:{number}", f"has more than {LONGEST_LINE} bytes", "lines", remedy)
                if total > most and (is_packed or not stat.S_ISREG(status.st_mode)):
                    raise _too_large(shown(path), most)
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            found = f"what is packed after this line is damaged ({error})"
            raise DataError(f"{shown(path)}:{number}", found, wanted, "restore it from its source") from None


def unpacked(content: bytes, where: str) -> bytes:
    """Unpack gzip. Raises DataError if it is damaged, or its content more than GZIP_RATIO times as large."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return _read_up_to(stream, _most_unpacked(len(content)), where)
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        raise DataError(where, f"is damaged gzip ({error})", "a whole file", "restore it from its source") from None


def decoded(content: bytes, where: str) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark, without the mark.

    Raises DataError that names the line and the likely encoding.
    """
    try:
        return content.decode(wide_encoding(content) or "utf-8-sig")
    except UnicodeDecodeError:
        raise DataError.collect([encoding_problem(content, where)]) from None


def encoding_problem(content: bytes, where: str) -> Problem:
    """The problem of a file ``where`` that is not UTF-8, with the likely encoding and a command to convert it."""
    name = wide_encoding(content)
    if name:
        return Problem(where, f"is {name.upper()}", "UTF-8", _convert(name.upper(), where))
    try:
        content.decode("utf-8")
        raise AssertionError("is UTF-8")
    except UnicodeDecodeError as error:
        start = error.start
    number = content.count(b"\n", 0, start) + 1
    begin = content.rfind(b"\n", 0, start) + 1
    line = content[begin:].split(b"\n", 1)[0].strip()[:60]
    found = f"byte 0x{content[start]:02x} in column {start - begin + 1} is not UTF-8"
    try:
        reading = line.decode("cp1252")
    except UnicodeDecodeError:
        remedy = f"convert the file from its encoding, for example 'iconv -f GB18030 -t UTF-8 {where}'"
        return Problem(f"{where}:{number}", found, "UTF-8", remedy)
    found += f'; as Windows-1252 the line reads "{reading}"'
    return Problem(f"{where}:{number}", found, "UTF-8", f"if that is right, {_convert('CP1252', where)}")


def parsed_json(text: str | bytes, where: str, wanted: str = "JSON") -> Any:
    """A JSON value. Raises DataError also for nesting deeper than DEEPEST, integers beyond 64 bits, and unpaired
    surrogates, which cannot be written."""
    if isinstance(text, bytes):
        text = decoded(text, where)
    try:
        value = json.loads(text, parse_int=_whole_number) if _MANY_DIGITS.search(text) else json.loads(text)
        if text.count("[") + text.count("{") > DEEPEST:
            _require_shallow(value)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _too_deep(where, wanted) from None
    except UnicodeEncodeError:
        raise DataError(where, "has an unpaired surrogate (\\ud800 to \\udfff)", wanted, "make it again") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(where, f"is not JSON ({reason})", wanted, "make it again") from None
    return value


def parsed_yaml(text: str, where: str, wanted: str = "YAML") -> Any:
    """A YAML value. Raises DataError also for nesting deeper than DEEPEST and aliases that expand too far."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise _too_deep(where, wanted) from None
    except _BROKEN_YAML as error:
        lines = str(error).splitlines() or [type(error).__name__]
        at = getattr(error, "problem_mark", None)
        place = f"{where}:{at.line + 1}" if at else where
        problem = getattr(error, "problem", None) or lines[0]
        raise DataError(place, f"is not YAML ({problem})", wanted, "correct the file") from None


def is_file(path: str | Path) -> bool:
    """Whether a file exists; False also for invalid names, for which pathlib raises."""
    return os.path.isfile(path)


def exists(path: str | Path) -> bool:
    """Whether a path exists; False also for invalid names, for which pathlib raises."""
    return os.path.exists(path)


def shown(path: str | Path, longest: int = 300) -> str:
    """A path or content of a file for a message: one line of limited length."""
    return printable(str(path), longest)


_MANY_DIGITS = re.compile(r"\d{19}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _require_readable(path: str | Path, wanted: str, remedy: str) -> None:
    """Raises DataError unless it is a file or a pipe, before it is opened: opening a device may have side effects."""
    try:
        status = os.stat(path)
    except ValueError:  # a NUL, or an unpaired surrogate
        raise DataError(shown(path), "is not a valid file name", wanted, remedy) from None
    kind = status.st_mode
    if stat.S_ISDIR(kind):
        raise DataError(shown(path), "is a folder", wanted, "give the path of a file")
    is_stdin = stat.S_ISCHR(kind) and (str(path) == os.devnull or (os.isatty(0) and _is_stdin(status)))
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or is_stdin):
        raise DataError(shown(path), "is a device or a socket", f"{wanted}: a file or a pipe", remedy)


def _is_stdin(status: os.stat_result) -> bool:
    try:
        return os.path.samestat(status, os.fstat(0))
    except OSError:
        return False


def _read_up_to(stream: BinaryIO | gzip.GzipFile, limit: int, where: str) -> bytes:
    parts: list[bytes] = []
    total = 0
    while part := stream.read(_CHUNK):
        parts.append(part)
        total += len(part)
        if total > limit:
            raise _too_large(where, limit)
    return b"".join(parts)


def _most_unpacked(size: int) -> int:
    return max(_GZIP_FREE, GZIP_RATIO * size)


def _too_large(where: str, limit: int) -> DataError:
    most = f"{limit / MIB:g} MiB" if limit >= MIB else counted(limit, "byte")
    return DataError(where, f"has more than {most}", "a smaller file", "check that it is the intended file")


def _too_deep(where: str, wanted: str) -> DataError:
    return DataError(where, "is nested too deeply", f"{wanted}, at most {DEEPEST} levels", "correct the file")


def _marked_encoding(content: bytes) -> str | None:
    """The encoding of a byte-order mark of UTF-16 or UTF-32, if any."""
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    return "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else None


def wide_encoding(content: bytes) -> str | None:
    """UTF-16 or UTF-32, detected by its mark, or by zero bytes at every second position of the beginning."""
    marked = _marked_encoding(content)
    if marked:
        return marked
    sample = content[:200]
    if len(sample) >= 4 and sample[1::2].count(0) > len(sample) // 3 and not sample[::2].count(0):
        return "utf-16le"
    if len(sample) >= 4 and sample[::2].count(0) > len(sample) // 3 and not sample[1::2].count(0):
        return "utf-16be"
    return None


def _convert(encoding: str, where: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8 '{where}' > new"


def _whole_number(digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else 1 << 64
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"the number {digits[:20]}... is too large")
    return number


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _inside(outer)]
        if not level:
            return
    raise RecursionError


def _inside(outer: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(outer.values() if isinstance(outer, dict) else outer)


class _Loader(yaml.SafeLoader):
    """Limits the depth, and the number of nodes with aliases expanded (ten aliases of ten aliases are a bomb)."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of nodes that are complete, by identity

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise RecursionError
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise yaml.YAMLError("a part of it contains itself")
        if node is not None and not is_alias:
            size = self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
            if size > _MOST_NODES:
                raise yaml.YAMLError("its aliases expand to too many nodes")
        return node


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
