"""The metadata of an ONNX file in its bytes, read and replaced without parsing the graph.

A file is a protocol buffer: fields one after another, each a tag, which is its number and its type, and a value. Field
14 is an entry of the metadata, with its key in field 1 and its value in field 2. Other fields are copied as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recitative.model.checksum import CLAIM, CLAIMED, DIGITS, KEY, digest_of

METADATA = 14
_BYTES = 2  # the type of a value that says its length


def metadata_of(content: bytes) -> dict[str, str]:
    """Key -> value of every entry. Raises ValueError for what is no protocol buffer."""
    return dict(_entry(value) for number, _, value in _fields(memoryview(content)) if number == METADATA)


def divided(content: bytes) -> tuple[bytes, dict[str, str]]:
    """The file without its metadata, and these. Raises ValueError for what is no protocol buffer."""
    rest = b"".join(whole for number, whole, _ in _fields(memoryview(content)) if number != METADATA)
    return rest, metadata_of(content)


def with_metadata(content: bytes, entries: Mapping[str, str]) -> bytes:
    """The same file with exactly these entries, old ones in their old order, and a checksum of all of it.

    Raises ValueError for what is no protocol buffer.
    """
    fields = list(_fields(memoryview(content)))
    kept = [key for key in (_entry(value)[0] for number, _, value in fields if number == METADATA) if key in entries]
    order = dict.fromkeys([*kept, *entries])
    metadata = [_entry_field(key, entries[key]) for key in order if key not in (CLAIM, KEY)]
    return sealed(b"".join([*(whole for number, whole, _ in fields if number != METADATA), *metadata]))


def sealed(content: bytes) -> bytes:
    """A file without a checksum, with one; see ``model.checksum``."""
    body = content + _entry_field(CLAIM, CLAIMED) + _entry_field(KEY, DIGITS * "0")[:-DIGITS]
    return body + digest_of(body).encode()


def _entry_field(key: str, value: str) -> bytes:
    return _field(METADATA, _field(1, key.encode()) + _field(2, value.encode()))


def _entry(field: memoryview) -> tuple[str, str]:
    parts = {number: value for number, _, value in _fields(field)}
    return str(parts.get(1, b""), "utf-8"), str(parts.get(2, b""), "utf-8")


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | _BYTES]) + _varint(len(value)) + value


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """The number, the whole, and the value of each field; the value is empty if it is a number."""
    place = 0
    while place < len(content):
        start = place
        tag, place = _read_varint(content, place)
        value = content[:0]
        match tag & 7:
            case 0:
                _, place = _read_varint(content, place)
            case 1:
                place += 8
            case 2:  # _BYTES
                size, place = _read_varint(content, place)
                value = content[place : place + size]
                place += size
            case 5:
                place += 4
            case other:
                raise ValueError(f"no protocol buffer: type {other}")
        if place > len(content):
            raise ValueError("a protocol buffer that ends within a field")
        yield tag >> 3, content[start:place], value


def _read_varint(content: memoryview, place: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; all but the last byte have their eighth bit set."""
    number, shift = 0, 0
    while place < len(content) and shift < 64:
        byte = content[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
    raise ValueError("a protocol buffer that ends within a number")


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
