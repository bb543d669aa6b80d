"""Every test asserts something: itself, by pytest.raises and the like, or in a helper."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
RAISING = ("raises", "warns", "fail")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(sources: Iterable[str]) -> Iterator[Function]:
    for source in sources:
        yield from (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def called(function: Function) -> set[str]:
    """Names of what a function calls, without their modules and objects."""
    targets = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {getattr(target, "id", "") or getattr(target, "attr", "") for target in targets}


def asserts(function: Function) -> bool:
    if any(isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant) for node in ast.walk(function)):
        return True
    return any(name in RAISING or name.startswith("assert_") for name in called(function))


def without_assertion(sources: Iterable[str]) -> list[str]:
    """Names of the tests in these sources that assert nothing. Helpers are known by their names."""
    every = list(functions(sources))
    helpers = {one.name for one in every if asserts(one) and not one.name.startswith("test_")}
    while more := {one.name for one in every if called(one) & helpers and not one.name.startswith("test_")} - helpers:
        helpers |= more
    return [one.name for one in every if one.name.startswith("test_") and not (asserts(one) or called(one) & helpers)]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("assert f() == 1", False),
        ("with pytest.raises(ValueError):\n  f()", False),
        ("np.testing.assert_array_equal(f(), 1)", False),
        ("for x in f():\n  outer(x)", False),
        ("f()", True),
        ("f(); assert True", True),
    ],
)
def test_a_test_that_asserts_nothing_is_found(body: str, found: bool) -> None:
    helpers = "def inner(x):\n assert x\ndef outer(x):\n inner(x)\ndef f():\n return 1\n"
    test = "def test_it():\n" + "".join(f" {line}\n" for line in body.splitlines())
    assert without_assertion([helpers, test]) == ["test_it"] * found


def test_every_test_asserts_something() -> None:
    assert without_assertion(path.read_text(encoding="utf-8") for path in sorted(FOLDER.rglob("*.py"))) == []
