"""A page as one HTML document, and the parts that every page has."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources


def document(title: str, body: str, style: str = "", script: str = "") -> str:
    """The whole file; ``style`` and ``script`` are the page's own, or else those of ``page.css`` and ``page.js``."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style or _resource('page.css')}</style></head>"
        f"<body><main>{body}</main><script>{script or _resource('page.js')}</script></body></html>\n"
    )


def tile(value: str, name: str, detail: str) -> str:
    """A number one looks for first; ``value`` is HTML already."""
    return f'<div class="card tile"><b>{value}</b>{escape(name)}<span class="muted">{escape(detail)}</span></div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(f"<th>{escape(name)}</th>" for name in head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def bar(share: float) -> str:
    """A small horizontal bar, from 0 to 1."""
    return f'<span class="bar"><span style="width:{100 * min(1.0, share):.0f}%"></span></span>'


def percent(rate: float) -> str:
    """A fraction in per cent, with two digits after the point."""
    return "&ndash;" if math.isnan(rate) else f"{100 * rate:.2f}&thinsp;%"


def data_uri(kind: str, content: bytes) -> str:
    """A file in the page itself; ``kind`` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _resource(name: str) -> str:
    return (resources.files("recitative.page") / name).read_text(encoding="utf-8")
