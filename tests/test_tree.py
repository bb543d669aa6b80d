"""The maps in CONTRIBUTING.md are the repository: the tree names all that is there and no more, and so does the
reading path, with its lines counted."""

from __future__ import annotations

import fnmatch
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LISTED = ("", "pipeline/recitative", "recipes", "tools")  # folders of which everything is named
# Not part of the map: hidden files, what a line beside it covers, and what git ignores.
LEFT_OUT = {".*", "__init__.py", "__main__.py", "py.typed", "bench.py"}


def named_paths(page: str) -> set[str]:
    """The paths and patterns of the tree under 'What is where'; an indented one belongs to the folder above it."""
    block = page.split("## What is where", 1)[1].split("```", 2)[1]
    paths, folder = set(), ""
    for line in block.strip().splitlines():
        path = line.split()[0].rstrip("/")
        folder = folder if line.startswith(" ") else path
        paths.add(f"{folder}/{path}" if line.startswith(" ") else path)
    return paths


def tree_faults(root: Path, page: str, ignored: set[str]) -> list[str]:
    """What the map names and isn't there, and what is there and the map leaves out."""
    named = named_paths(page)
    faults = [f"{path} is not there" for path in named if not any(root.glob(path))]
    for folder in LISTED:
        for entry in (root / folder).iterdir():
            path = entry.relative_to(root).as_posix()
            listed = any(fnmatch.fnmatch(path, n) or n.startswith(f"{path}/") for n in named)
            if not _is_ignored(entry, ignored) and not listed:
                faults.append(f"{path} has no line")
    return sorted(faults)


def reading_path(page: str) -> list[tuple[str, int]]:
    """The files under 'A reading path' with their printed numbers of lines, in order."""
    section = page.split("## A reading path", 1)[1].split("\n## ", 1)[0]
    return [(path, int(lines)) for path, lines in re.findall(r"^\| `([^`]+)` \| (\d+) \|", section, re.M)]


def _is_ignored(entry: Path, ignored: set[str]) -> bool:
    return any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored)


@pytest.fixture
def ignored() -> set[str]:
    patterns = {line.strip("/ ") for line in (ROOT / ".gitignore").read_text().splitlines() if line.strip()}
    return {pattern for pattern in patterns if "/" not in pattern} | LEFT_OUT


def test_the_tree_in_contributing_is_the_repository(ignored: set[str]) -> None:
    assert tree_faults(ROOT, (ROOT / "CONTRIBUTING.md").read_text(), ignored) == []


def test_the_reading_path_has_at_most_3000_lines_and_says_how_many_each_file_has() -> None:
    path = reading_path((ROOT / "CONTRIBUTING.md").read_text())
    counts = {file: len((ROOT / "pipeline/recitative" / file).read_text().splitlines()) for file, _ in path}
    assert {file: lines for file, lines in path if abs(lines - counts[file]) > max(10, counts[file] // 10)} == {}
    assert 1000 < sum(counts.values()) <= 3000


def test_the_checker_finds_what_is_missing_on_either_side(tmp_path: Path, ignored: set[str]) -> None:
    for path in ("pipeline/recitative/nn", "recipes/digits", "tools", "secret", ".venv", "build"):
        (tmp_path / path).mkdir(parents=True)
    lines = [
        "pipeline/recitative/  a",
        "  nn/  b",
        "  gone/  c",
        "recipes/digits/  d",
        "tools/stages.sh  e",
        "tools/b*  f",
    ]
    for file in ("bench", "bench_train.py"):
        (tmp_path / "tools" / file).touch()
    page = "\n".join(["## What is where", "```", *lines, "```"])
    assert tree_faults(tmp_path, page, ignored) == [
        "pipeline/recitative/gone is not there",
        "secret has no line",
        "tools/stages.sh is not there",
    ]


def test_the_pages_name_only_commands_that_exist() -> None:
    """Every 'recitative verb' of README, CONTRIBUTING and docs is a verb of the command line."""
    from recitative.cli.main import app

    callbacks = [(command.name, command.callback) for command in app.registered_commands]
    verbs = {name or callback.__name__.replace("_", "-") for name, callback in callbacks if callback}
    verbs |= {group.name or group.typer_instance.info.name for group in app.registered_groups}
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        words = page.read_text().replace("'", " ").replace("`", " ").split()
        used = {after for before, after in itertools.pairwise(words) if before == "recitative" and after[0] != "-"}
        assert used - {"...", "is", "import"} <= verbs, page  # "from recitative import" is Python
