"""Repairs of what the theme lacks for weak eyes, keyboards and screen readers; MkDocs calls them for each page."""

import re
from typing import Any

STYLE = """
[data-md-color-primary=teal] { --md-primary-fg-color: #00796b }
[data-md-color-scheme=default] { --md-typeset-a-color: #00796b; --md-accent-fg-color: #00695c;
  --md-code-hl-comment-color: #595959; --md-code-hl-operator-color: #595959; --md-code-hl-punctuation-color: #595959 }
[data-md-color-scheme=slate] { --md-code-hl-number-color: #f0857a; --md-code-hl-constant-color: #b3a8f2 }
.md-typeset :is(p, li, td) a { text-decoration: underline }
.md-typeset pre > code { white-space: pre-wrap; overflow-wrap: anywhere }
"""
REPAIRS = [
    ("</head>", f"<style>{STYLE}</style></head>"),  # contrast, links among text, nothing that only a mouse scrolls
    (r'(<div class="md-search"[^>]*role="dialog")', r'\1 aria-label="Search"'),
    (r"<th([^>]*)></th>", r"<td\1></td>"),  # a header without text
]


def on_post_page(output: str, **_: Any) -> str:
    for pattern, repaired in REPAIRS:
        output = re.sub(pattern, repaired, output)
    return output
