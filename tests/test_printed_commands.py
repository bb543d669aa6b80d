"""Every command line that a page, a help text or an error prints is one that the command line takes.

A line is whole, or it has ``...`` where more is to be given. In prose a verb and its options may be named without
their arguments, as in 'recitative check --fix'.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from recitative.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "recipes/*/README.md", "tests/*/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # tells of past ones
)
SOURCES = sorted((ROOT / "pipeline").rglob("*.py"))
QUOTED = re.compile(r"(?:``|'|`)((?:[\w.=-]+ )*?recitative\s[^`]+?)(?:``|'(?!\w)|`)")
VALUE = "VALUE"  # of an f-string
END = re.compile(r"[|;<>&]+|\d>")


def of_page(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Where, what, and whether it stands in prose: lines of code blocks, and what is in backticks."""
    text = path.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(?:\w*)\n(.*?)^```$", text, re.M | re.S):
        first = text.count("\n", 0, block.start(1)) + 1
        lines = re.sub(r" *\\\n *", lambda gap: " " + "\0", block[1]).split("\n")
        for number, line in enumerate(lines):
            before = sum(earlier.count("\0") for earlier in lines[:number])
            if re.match(r"(\$ )?([^#]*[ |])?recitative (?!import )", line):
                line = line.replace("\0", "").removeprefix("$ ")
                yield f"{path.relative_to(ROOT)}:{first + number + before}", line, False
    prose = re.sub(r"^```\w*\n.*?^```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)
    for quote in re.finditer(r"`((?:torchrun |python -m )?[^`]*?recitative [^`]+)`", prose):
        where = f"{path.relative_to(ROOT)}:{prose.count(chr(10), 0, quote.start()) + 1}"
        yield where, " ".join(quote[1].split()), True


def of_source(path: Path) -> Iterator[tuple[str, str, bool]]:
    """What stands in quotes in any text of the code; an f-string has VALUE for its values."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        for quote in QUOTED.finditer(text):
            yield f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(quote[1].split()), True


def commands() -> list[tuple[str, str, bool]]:
    found = [one for path in PAGES for one in of_page(path)]
    return found + [one for path in SOURCES for one in of_source(path)]


def words(line: str) -> list[str]:
    """Of the part of a shell's line that begins with recitative: its arguments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;<>&")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if END.fullmatch(word):
            parts.append([])
        else:
            parts[-1].append(word)
    ours = next(part for part in parts if "recitative" in part)
    return ours[ours.index("recitative") + 1 :]


@cache
def command_line() -> Any:
    return typer.main.get_command(app)


def problem(line: str, in_prose: bool = False) -> str:
    """Why the command line refuses it; empty if it takes it."""
    command, rest = command_line(), words(line)
    while (below := getattr(command, "commands", None)) and rest:
        if rest[0] in ("...", "--version", VALUE):
            return ""
        if rest[0] not in below:
            return f"no verb '{rest[0]}'"
        if below[rest[0]].hidden:
            return f"'{rest[0]}' is an old name"
        command, rest = below[rest[0]], rest[1:]
    if below or rest in ([], ["--help"]):
        return ""  # it names a verb, or a group of them
    given = [_with_value(word) for word in rest if word != "..."]
    named = in_prose and not _parsed(command, given, whole=False)[1]
    return _parsed(command, given, whole=not named and "..." not in rest)[0]


def _parsed(command: Any, given: list[str], *, whole: bool) -> tuple[str, bool]:
    """What is wrong, and whether there is an argument beside the options. The last option may lack its value, unless
    the line is to be whole."""
    with pytest.MonkeyPatch.context() as patch:
        for parameter in command.params:
            patch.setattr(parameter, "required", parameter.required and whole)
        for more in [[]] if whole else [[], ["2"]]:
            try:
                context = command.make_context("", [*given, *more])
            except Exception as error:
                if not hasattr(error, "format_message"):
                    raise
                complaint = error.format_message()
            else:
                arguments = (one for one in command.params if one.param_type_name == "argument")
                return "", any(context.params[one.name] for one in arguments)
    return complaint, False


def _with_value(word: str) -> str:
    return "2" if re.fullmatch(r"N|SECONDS", word) else word


def test_commands_are_found_where_they_are_printed(tmp_path: Path) -> None:
    found = {where.split(":")[0] for where, *_ in commands()}
    assert {"README.md", "docs/decoding.md", "recipes/watch/README.md", "pipeline/recitative/cli/train.py"} <= found


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("recitative check data --conf a.yaml  # a comment", ""),
        ("curl -s x | recitative transcribe - --model 'a b.onnx' > x.txt", ""),
        ("torchrun --nproc-per-node 2 -m recitative train ...", ""),
        ("recitative train --init exp/model ...", ""),
        ("recitative train --init exp/model", "Missing option '--output'"),
        ("recitative chek data", "no verb 'chek'"),
        ("recitative suggest data --output conf.yaml", "'suggest' is an old name"),
        ("recitative check data --config a.yaml", "No such option: --config"),
        ("recitative decode exp/model data/dev --output x --nbest many", "Invalid value for '--nbest'"),
    ],
)
def test_what_the_command_line_refuses_is_found(line: str, complaint: str) -> None:
    assert problem(line)[: len(complaint) or None] == complaint


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("recitative check --fix", ""),
        ("recitative decode --nbest", ""),
        ("recitative decode --best 20", "No such option: --best"),
        ("recitative tokens data/train --unit word", "Missing option '--output'"),
    ],
)
def test_prose_may_name_options_without_arguments(line: str, complaint: str) -> None:
    assert problem(line, in_prose=True)[: len(complaint) or None] == complaint


def verbs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every verb that the help shows."""
    for name, below in command.commands.items():
        if not below.hidden:
            yield from verbs(below, (*path, name)) if hasattr(below, "commands") else [(" ".join((*path, name)), below)]


@pytest.mark.parametrize(("verb", "command"), [pytest.param(*one, id=one[0]) for one in verbs(command_line())])
def test_a_verb_has_two_examples_that_the_command_line_takes(verb: str, command: Any) -> None:
    examples = re.sub(r"\\\n *", "", (command.help or "").rpartition("\b\n")[2]).splitlines()
    lines = [
        line for line in (re.split(r" {2,}", one.strip(), maxsplit=1)[0] for one in examples) if "recitative" in line
    ]
    assert len(lines) > 1
    assert any(f"recitative {verb}" in line for line in lines)
    assert [why for line in lines if (why := problem(line))] == []


def test_every_printed_command_line_is_one_that_the_command_line_takes() -> None:
    assert [f"{where}: {line}: {why}" for where, line, prose in commands() if (why := problem(line, prose))] == []
