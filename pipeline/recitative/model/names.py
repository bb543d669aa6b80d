"""Names of recordings in results: short and distinct."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

STDIN_FILE, STDIN = "-", "stdin"
"""Standard input among files, and what it is called."""


def recording_ids(files: Sequence[str]) -> dict[str, str]:
    """An id without white space for each file: the first column of CTM and of Kaldi's tables.

    The file's name without its ending; where two are alike, with the folders in which they differ, as ``folder-name``,
    and else with its ending or a number.
    """
    above = _common_folder(files)
    return _distinct(
        files,
        lambda file: _id(Path(file).stem),
        lambda file: _id("-".join(_below(file, above).with_suffix("").parts)),
        lambda file: _id("-".join(_below(file, above).parts)),
    )


def output_names(files: Sequence[str], inputs: Sequence[str]) -> dict[str, str]:
    """The path of each file's result below a folder, without an ending.

    What was found in a folder of ``inputs`` keeps its place in it, and a file that was named itself its name; where two
    are alike, they keep their place in the folder that holds all files, and else their ending or a number.
    """
    above = _common_folder(files)
    roots = [os.path.abspath(_fixed_part(name)) for name in inputs]
    return _distinct(
        files,
        lambda file: str(_in_root(file, roots).with_suffix("")),
        lambda file: str(_below(file, above).with_suffix("")),
        lambda file: str(_below(file, above)),
    )


def _distinct(files: Sequence[str], *proposals: Callable[[str], str]) -> dict[str, str]:
    """The first proposal for each file that no other file has; case does not count, as on many disks."""
    found: dict[str, str] = {STDIN_FILE: STDIN} if STDIN_FILE in files else {}
    taken = {STDIN} if found else set()
    for propose in proposals:
        proposed = {file: propose(file) for file in files if file not in found}
        count = Counter(name.casefold() for name in proposed.values())
        alone = {file: name for file, name in proposed.items() if count[name.casefold()] == 1}
        found |= {file: name for file, name in alone.items() if name.casefold() not in taken}
        taken |= {name.casefold() for name in found.values()}
    for number, file in enumerate((file for file in files if file not in found), start=1):
        name = f"{proposals[-1](file)}-{number}"
        while name.casefold() in taken:
            name += "-"
        found[file] = name
        taken.add(name.casefold())
    return found


def _id(text: str) -> str:
    return "_".join(text.split()) or "recording"


def _common_folder(files: Sequence[str]) -> str:
    folders = [os.path.dirname(os.path.abspath(file)) for file in files if file != STDIN_FILE]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # none, or on several drives
        return ""


def _below(file: str, folder: str) -> PurePath:
    path = PurePath(os.path.abspath(file))
    return path.relative_to(folder) if folder and path.is_relative_to(folder) else path.relative_to(path.anchor)


def _in_root(file: str, roots: Sequence[str]) -> PurePath:
    """Below the innermost folder of the inputs that holds it."""
    path = PurePath(os.path.abspath(file))
    holding = [root for root in roots if path != PurePath(root) and path.is_relative_to(root)]
    return path.relative_to(max(holding, key=len)) if holding else PurePath(path.name)


def _fixed_part(name: str) -> str:
    """The folders of a pattern before its first wildcard."""
    if os.path.exists(name):
        return name
    fixed: list[str] = []
    for part in PurePath(name).parts[:-1]:
        if any(sign in part for sign in "*?["):
            break
        fixed.append(part)
    return os.path.join(*fixed) if fixed else "."
