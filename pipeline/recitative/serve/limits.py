"""What a server allows its clients, and who they may be."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """streams: live at once; recordings: worked on at once, other requests included, and as many again may wait;
    upload_mb: of a recording's file; recording_s: its length; decoding_s, decoding_mb: time and memory to decode it;
    message_kb: of a live stream; idle_s: without a message; total_s: a live stream's length."""

    streams: int = 32
    recordings: int = 2
    upload_mb: float = 200.0
    recording_s: float = 4 * 3600.0
    decoding_s: float = 120.0
    decoding_mb: int = 512
    message_kb: int = 1024
    idle_s: float = 60.0
    total_s: float = 4 * 3600.0


@dataclass(frozen=True)
class Access:
    """host: the address that the server listens at; token: '' = none is asked for; origins: of pages on other servers
    that may use this one."""

    host: str = "127.0.0.1"
    token: str = ""
    origins: tuple[str, ...] = ()

    def refusal(self, headers: Mapping[str, str], query: Mapping[str, str], *, is_open: bool = False) -> str:
        """Why a request is refused: 'host', 'origin' or 'token'; '' if it is not.

        A page on another server can reach one on the user's own machine through the browser; its Origin tells, and
        where it had its name point to this machine, Host does. is_open: a path that needs no token.
        """
        host = headers.get("host", "")
        if self.host in LOOPBACK and _parts(f"//{host}").hostname not in LOOPBACK:
            return "host"
        origin = headers.get("origin", "")
        if origin and _parts(origin).netloc != host and origin not in self.origins and "*" not in self.origins:
            return "origin"
        if self.token and not is_open and not self._knows_token(headers, query):
            return "token"
        return ""

    def _knows_token(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Browsers cannot give a WebSocket a header: there the token may stand in the query."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given if scheme.lower() == "bearer" else query.get("token", "")
        return hmac.compare_digest(given.encode(), self.token.encode())


def _parts(address: str) -> SplitResult:
    """Of an address; empty for what is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
