"""Links between the pages of the repository lead somewhere: to a file that is there, and to one of its headings."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/*.md", "recipes/*/*.md", "pipeline/recitative/pretrained/*.md")


def link_faults(root: Path, page: Path) -> list[str]:
    """The links of a page to files or headings that do not exist; addresses on the web are left out."""
    text = _without_code(page.read_text())
    faults = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists():
            faults.append(f"{page.relative_to(root)}: {link}: no such file")
        elif anchor and anchor not in anchors(target.read_text()):
            faults.append(f"{page.relative_to(root)}: {link}: no such heading")
    return faults


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _without_code(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def test_every_link_between_pages_leads_to_a_file_and_a_heading() -> None:
    pages = [page for pattern in PAGES for page in ROOT.glob(pattern)]
    assert len(pages) > 20
    assert [fault for page in pages for fault in link_faults(ROOT, page)] == []


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "# It's *so*, 2 x 2\n[1](a.md#its-so-2-x-2) [2](#no) [3](b.md) [4](https://x.y/z)\n```\n# no [5](c)\n```\n"
    )
    assert link_faults(tmp_path, page) == ["a.md: #no: no such heading", "a.md: b.md: no such file"]
