"""Grammars: which sentences they allow."""

import math
from pathlib import Path

import pytest

from recitative.decoding.hotwords import Grammar
from recitative.errors import DataError

LIGHTS = """
# what the lights understand
turn (on | off) the [kitchen | living room] light
call $name
$name = anna | bert [$title]
$title = smith
"""


def allows(grammar: Grammar, text: str) -> bool:
    state, total = grammar.start(), 0.0
    for word in text.split():
        score, state = grammar.score(state, word)
        total += score
    return total + grammar.finish(state) > -math.inf


@pytest.mark.parametrize(
    "text",
    [
        "turn on the light",
        "turn off the kitchen light",
        "turn off the living room light",
        "call anna",
        "call bert smith",
        "call bert",
        "call anna turn on the light",  # one sentence after another
        "",
    ],
)
def test_sentences_of_the_grammar_are_allowed(text: str) -> None:
    assert allows(Grammar(LIGHTS), text)


@pytest.mark.parametrize(
    "text",
    ["turn the light", "turn on the kitchen", "call", "call anna smith", "call anna light", "anna", "turn on on"],
)
def test_others_are_not(text: str) -> None:
    assert not allows(Grammar(LIGHTS), text)


def test_its_words_are_known_in_advance() -> None:
    assert Grammar("go [left|right]\nstop").words == ["go", "left", "right", "stop"]


def test_every_sentence_is_equally_good() -> None:
    grammar = Grammar("a (b | c)")
    _, state = grammar.score(grammar.start(), "a")
    assert grammar.score(state, "b")[0] == grammar.score(state, "c")[0] == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "grammar: has no sentence"),
        ("$a = b", "grammar: has no sentence"),
        ("go (left", "grammar:1: '(' is not closed"),
        ("go (left]", "grammar:1: '(' is closed by ']'"),
        ("go\nleft)", "grammar:2: ')' closes nothing"),
        ("go ()", "grammar:1: an alternative without a word"),
        ("go (a | )", "grammar:1: an alternative without a word"),
        ("go $where", "grammar:1: rule '$where' is not defined; known here: none"),
        ("go $a\n$a = b $a", "grammar:1: rule '$a' refers to itself"),
        ("go\n$a = b\n$a = c", "grammar:3: rule '$a' is defined twice"),
        ("name = b", "grammar:1: 'name' is not the name of a rule"),
        ("go $ there", "grammar:1: cannot read '$ there'"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_line(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Grammar(text)
    assert message in str(caught.value)


def test_a_grammar_too_large_to_expand_is_refused() -> None:
    rules = "\n".join(f"$r{i} = $r{i + 1} $r{i + 1} | x" for i in range(20))
    with pytest.raises(DataError, match="more than 100000 states"):
        Grammar(f"go $r0\n{rules}\n$r20 = x")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "commands.txt"
    path.write_text("go\nstop\n")
    assert allows(Grammar.read(path), "stop")
    with pytest.raises(DataError, match="does not exist; a grammar"):
        Grammar.read(tmp_path / "missing")
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match="is not UTF-8"):
        Grammar.read(path)
