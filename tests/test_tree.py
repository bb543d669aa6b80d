"""The tree in README.md is the repository: whatever it names is there, and whatever is there has its line."""

from __future__ import annotations

import fnmatch
import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LISTED = ("", "pipeline/recitative", "recipes", "tools")  # folders of which everything is named
# Not part of the map: hidden files, what a line beside it covers, and what git ignores.
LEFT_OUT = {".*", "__init__.py", "__main__.py", "py.typed", "bench.py"}


def named_paths(readme: str) -> set[str]:
    """The paths of the tree under 'What is where'; an indented one belongs to the folder above it."""
    block = readme.split("## What is where", 1)[1].split("```", 2)[1]
    paths, folder = set(), ""
    for line in block.strip().splitlines():
        path = line.split()[0].rstrip("/")
        folder = folder if line.startswith(" ") else path
        paths.add(f"{folder}/{path}" if line.startswith(" ") else path)
    return paths


def tree_faults(root: Path, readme: str, ignored: set[str]) -> list[str]:
    """What the map names and isn't there, and what is there and the map leaves out."""
    named = named_paths(readme)
    faults = [f"{path} is not there" for path in named if not (root / path).exists()]
    for folder in LISTED:
        for entry in (root / folder).iterdir():
            path = entry.relative_to(root).as_posix()
            if not _is_ignored(entry, ignored) and not any(n == path or n.startswith(f"{path}/") for n in named):
                faults.append(f"{path} has no line")
    return sorted(faults)


def _is_ignored(entry: Path, ignored: set[str]) -> bool:
    return any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored)


@pytest.fixture
def ignored() -> set[str]:
    patterns = {line.strip("/ ") for line in (ROOT / ".gitignore").read_text().splitlines() if line.strip()}
    return {pattern for pattern in patterns if "/" not in pattern} | LEFT_OUT


def test_the_tree_in_the_readme_is_the_repository(ignored: set[str]) -> None:
    assert tree_faults(ROOT, (ROOT / "README.md").read_text(), ignored) == []


def test_the_checker_finds_what_is_missing_on_either_side(tmp_path: Path, ignored: set[str]) -> None:
    for path in ("pipeline/recitative/nn", "recipes/digits", "tools", "secret", ".venv", "build"):
        (tmp_path / path).mkdir(parents=True)
    lines = ["pipeline/recitative/  a", "  nn/  b", "  gone/  c", "recipes/digits/  d", "tools/stages.sh  e"]
    readme = "\n".join(["## What is where", "```", *lines, "```"])
    assert tree_faults(tmp_path, readme, ignored) == [
        "pipeline/recitative/gone is not there",
        "secret has no line",
        "tools/stages.sh is not there",
    ]


def test_the_readme_names_only_commands_that_exist() -> None:
    """Every 'recitative verb' of the README and of CONTRIBUTING is a verb of the command line."""
    from recitative.cli.main import app

    callbacks = [(command.name, command.callback) for command in app.registered_commands]
    verbs = {name or callback.__name__.replace("_", "-") for name, callback in callbacks if callback}
    verbs |= {group.name for group in app.registered_groups if group.name}
    for page in ("README.md", "CONTRIBUTING.md"):
        words = (ROOT / page).read_text().replace("'", " ").replace("`", " ").split()
        used = {after for before, after in itertools.pairwise(words) if before == "recitative"}
        assert used - {"...", "is", "import"} <= verbs  # "from recitative import" is Python
