"""A grammar as a language model: every sentence that it allows scores 0, all others are impossible.

The file has one rule or sentence a line:

    turn (on | off) the [kitchen] light      alternatives in parentheses, options in brackets
    call $name                               another rule
    $name = anna | bert                      a rule, which must not refer to itself

Several sentences may follow one another. ``#`` starts a comment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator
from pathlib import Path

from recitative.errors import DataError
from recitative.reading import DEEPEST, LARGEST_SETTINGS, read_text

_TOKEN = re.compile(r"\s*(\$?[^\s()\[\]|=$]+|[()\[\]|])")

MAX_STATES = 100_000  # of an expanded grammar


class Grammar:
    """A ``LanguageModel``. Its states are the sets of places in the grammar that the words so far may lead to."""

    def __init__(self, text: str, where: str = "grammar") -> None:
        """Raises DataError that names the line of a syntax error."""
        sentences, rules = _parse_rules(text, where)
        self._arcs: list[dict[str, set[int]]] = [{}]
        self._silent: list[set[int]] = [set()]  # places reached without a word
        self._end = self._add_place(where)
        for line, tokens in sentences:
            _Builder(self, rules, f"{where}:{line}").sentence(tokens)
        self._start = self._closure({0})

    @classmethod
    def read(cls, path: Path) -> Grammar:
        """Raises DataError if the file cannot be read, or has no sentence."""
        return cls(read_text(path, "a grammar", limit=LARGEST_SETTINGS), str(path))

    @property
    def words(self) -> list[str]:
        """Its words, sorted."""
        return sorted({word for arcs in self._arcs for word in arcs})

    def start(self) -> Hashable:
        return self._start

    def score(self, state: Hashable, word: str) -> tuple[float, Hashable]:
        assert isinstance(state, frozenset)
        reached = {place for here in state for place in self._arcs[here].get(word, ())}
        return (0.0, self._closure(reached)) if reached else (-math.inf, frozenset())

    def finish(self, state: Hashable) -> float:
        """The end is allowed after a whole sentence and before the first."""
        assert isinstance(state, frozenset)
        return 0.0 if self._end in state or state == self._start else -math.inf

    def knows(self, word: str) -> bool:
        return True  # a word outside it is impossible, not unknown

    def _closure(self, places: set[int]) -> frozenset[int]:
        found, waiting = set(places), list(places)
        while waiting:
            for place in self._silent[waiting.pop()] - found:
                found.add(place)
                waiting.append(place)
        if self._end in found and 0 not in found:  # a sentence may follow
            return self._closure(found | {0})
        return frozenset(found)

    def _add_place(self, where: str) -> int:
        if len(self._arcs) >= MAX_STATES:
            raise DataError(where, f"more than {MAX_STATES} states", "a smaller grammar", "use a language model")
        self._arcs.append({})
        self._silent.append(set())
        return len(self._arcs) - 1


class _Builder:
    """Recursive-descent parser of one line: alternatives = sequence | sequence ..."""

    def __init__(self, grammar: Grammar, rules: dict[str, tuple[int, list[str]]], where: str) -> None:
        self.grammar, self.rules, self.where = grammar, rules, where
        self.open: list[str] = []  # rules being expanded
        self.depth = 0  # of groups and rules within one another

    def sentence(self, tokens: list[str]) -> None:
        self.grammar._silent[self._expand(tokens, 0)].add(self.grammar._end)

    def _expand(self, tokens: list[str], begin: int) -> int:
        rest = iter([*tokens, ""])
        end, closing = self._alternatives(rest, begin)
        if closing:
            raise DataError(self.where, f"'{closing}' closes nothing", "pairs of ( ) and [ ]", "")
        return end

    def _alternatives(self, rest: Iterator[str], begin: int) -> tuple[int, str]:
        """The place after any of them, and the symbol that ended them."""
        end = self.grammar._add_place(self.where)
        self.depth += 1
        if self.depth > DEEPEST:
            raise DataError(self.where, "is nested too deeply", f"at most {DEEPEST} levels of groups and rules", "")
        while True:
            last, words, sign = self._sequence(rest, begin)
            if not words:
                raise DataError(self.where, "an alternative without a word", "words; [ ] encloses what is optional", "")
            self.grammar._silent[last].add(end)
            if sign != "|":
                self.depth -= 1
                return end, sign

    def _sequence(self, rest: Iterator[str], place: int) -> tuple[int, bool, str]:
        words = False
        for part in rest:
            if part in ("", ")", "]", "|"):
                return place, words, part
            words = True
            if part in ("(", "["):
                place = self._group(rest, place, part)
            elif part.startswith("$"):
                place = self._rule(part, place)
            else:
                new = self.grammar._add_place(self.where)
                self.grammar._arcs[place].setdefault(part, set()).add(new)
                place = new
        raise AssertionError("the tokens end with ''")

    def _group(self, rest: Iterator[str], place: int, opening: str) -> int:
        # A new place, so that nothing before the group can enter it twice.
        begin = self.grammar._add_place(self.where)
        self.grammar._silent[place].add(begin)
        end, closing = self._alternatives(rest, begin)
        wanted = ")" if opening == "(" else "]"
        if closing != wanted:
            found = f"'{opening}' is closed by '{closing}'" if closing else f"'{opening}' is not closed"
            raise DataError(self.where, found, f"'{wanted}'", "")
        if opening == "[":
            self.grammar._silent[begin].add(end)
        return end

    def _rule(self, name: str, place: int) -> int:
        if name not in self.rules:
            known = ", ".join(sorted(self.rules)) or "none"
            raise DataError(
                self.where, f"rule '{name}' is not defined", f"known here: {known}", f"write '{name} = ...'"
            )
        if name in self.open:
            raise DataError(self.where, f"rule '{name}' refers to itself", "rules without recursion", "")
        self.open.append(name)
        end = self._expand(self.rules[name][1], place)
        self.open.pop()
        return end


def _parse_rules(text: str, where: str) -> tuple[list[tuple[int, list[str]]], dict[str, tuple[int, list[str]]]]:
    """Sentences and rules, each with its line number and its tokens."""
    sentences: list[tuple[int, list[str]]] = []
    rules: dict[str, tuple[int, list[str]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        name, equals, body = line.partition("=")
        if equals and not re.fullmatch(r"\$\S+", name.strip()):
            raise DataError(f"{where}:{number}", f"'{name.strip()}' is not the name of a rule", "'$name = words'", "")
        if equals and name.strip() in rules:
            raise DataError(f"{where}:{number}", f"rule '{name.strip()}' is defined twice", "each rule once", "")
        tokens = _tokenize(body if equals else line, f"{where}:{number}")
        if equals:
            rules[name.strip()] = (number, tokens)
        else:
            sentences.append((number, tokens))
    if not sentences:
        raise DataError(where, "has no sentence", "at least one line of words", "")
    return sentences, rules


def _tokenize(text: str, where: str) -> list[str]:
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise DataError(where, f"cannot read '{text[position:].strip()}'", "words, ( | ), [ ], $rules", "")
        found.append(match[1])
        position = match.end()
    return found
