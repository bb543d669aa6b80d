"""Ogg: its consecutive streams, each from a first page to a last page (RFC 3533)."""

from __future__ import annotations

from dataclasses import dataclass, field

from recitative.audio.containers.layout import Bytes, Layout, StreamPart

_FIRST, _LAST = 2, 4  # bits of a page's header type


@dataclass
class _Link:
    """One stream of a chain, or several multiplexed ones."""

    start: int
    stop: int
    open: set[bytes] = field(default_factory=set)  # serial numbers of streams without a last page
    has_content: bool = False  # a page other than the first


def read_ogg(file: Bytes) -> Layout | None:
    """The layout of an Ogg file; None for other files."""
    if file(0, 4) != b"OggS":
        return None
    links: list[_Link] = []
    position, ends_within = 0, False
    while position < file.size:
        head = file(position, 27)
        if head[:4] != b"OggS":
            position = file.find(b"OggS", position + 1)
            if position < 0:
                break
            continue
        table = file(position + 27, head[26]) if len(head) == 27 else b""
        stop = position + 27 + len(table) + sum(table)
        ends_within = len(head) < 27 or len(table) < head[26] or stop > file.size
        if ends_within:
            break
        _note(links, position, stop, head)
        position = stop
    if not links:
        return None
    links[-1].stop = file.size
    cut = ends_within or any(link.open for link in links)
    parts = tuple(StreamPart(link.start, link.stop) for link in links)
    return Layout(parts, "is truncated: the ogg stream has no last page" if cut else "")


def _note(links: list[_Link], position: int, stop: int, head: bytes) -> None:
    kind, serial = head[5], head[14:18]
    if not links or (kind & _FIRST and links[-1].has_content):
        links.append(_Link(position, stop))
    link = links[-1]
    link.stop = stop
    link.has_content |= not kind & _FIRST
    if kind & _LAST:
        link.open.discard(serial)
    elif kind & _FIRST:
        link.open.add(serial)
