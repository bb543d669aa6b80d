"""The checksum of a model file: SHA-256 of all its bytes but the last 64, which are the checksum itself.

ONNX keeps metadata at the end of a file, and this entry is the last of it: its value, 64 hexadecimal digits, ends the
file. So it is checked on the bytes as they are, before anything reads them. A second entry says that there is a
checksum, for the case that the first is cut off or spelled differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from recitative.errors import DataError

CLAIM, CLAIMED = "recitative.checksum", "sha256 of all but the last 64 bytes"
KEY = "recitative.sha256"
DIGITS = 64

_BEFORE = KEY.encode() + bytes([0x12, DIGITS])  # the entry's key, and field 2 of 64 bytes: its value


def digest_of(content: bytes | memoryview) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def verify_checksum(content: bytes, where: str, kind: str) -> bool:
    """Whether the file's bytes end with a checksum; those of older versions don't. Raises DataError for a wrong one."""
    body = memoryview(content)[:-DIGITS]
    if bytes(body[-len(_BEFORE) :]) != _BEFORE:
        return False
    if content[-DIGITS:] != digest_of(body).encode():
        raise _damaged(where, kind)
    return True


def require_no_claim(metadata: Mapping[str, str], where: str, kind: str) -> None:
    """Of a file without a checksum. Raises DataError if it had one when it was made."""
    if CLAIM in metadata:
        raise _damaged(where, kind)


def _damaged(where: str, kind: str) -> DataError:
    found = "is damaged: its content does not match its checksum"
    return DataError(where, found, f"a whole {kind}", "copy or export it again")
