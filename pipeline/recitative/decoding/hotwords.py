"""What a user expects to be said: lists of phrases, hot words, which the beam search favors, and grammars.

A list is ``phrase``, ``phrase:4`` with a number, or ``word=PH PH PH`` with a pronunciation, separated by commas or line
breaks; ``#`` starts a comment. The file of a grammar has one rule or sentence a line:

    turn (on | off) the [kitchen] light      alternatives in parentheses, options in brackets
    call $name                               another rule
    $name = anna | bert                      a rule, which must not refer to itself

Several sentences may follow one another. ``#`` starts a comment.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recitative.errors import DataError, Problem, UsageError, raise_all
from recitative.reading import DEEPEST, LARGEST_SETTINGS, read_text
from recitative.text.tokens import Lexicon, Pronunciation, TokenTable

MAX_SPELLINGS = 64  # of one phrase

Ways = Mapping[str, tuple[Pronunciation, ...]]
Guess = Callable[[Sequence[str], TokenTable], Mapping[str, Pronunciation]]
"""Pronounces those of some words that it can, with phones of the table; see ``asr.pronunciation.guess``."""


@dataclass(frozen=True)
class PhraseKind:
    """The words with which messages describe the phrases of a list and their numbers."""

    name: str  # such as hot word
    number: str  # such as weight
    largest: float  # numbers are in [0, largest]
    example: float


@dataclass(frozen=True)
class Phrase:
    """Words with single spaces, and the number and the pronunciation of its single word, if given."""

    text: str
    number: float | None = None
    pronunciation: Pronunciation = ()


def parse_phrases(text: str, kind: PhraseKind) -> list[Phrase]:
    """Raises UsageError that names a phrase without words, a number out of range, a pronunciation of two words."""
    lines = [line.split("#", 1)[0].strip() for part in text.splitlines() for line in part.split(",")]
    return [_parse(line, kind) for line in lines if line]


def read_phrases(path: Path, kind: PhraseKind) -> list[Phrase]:
    """A file of phrases. Raises DataError if it cannot be read or has none, and what ``parse_phrases`` raises."""
    text = read_text(path, "a text file, one phrase a line", limit=LARGEST_SETTINGS)
    found = parse_phrases(text, kind)
    if not found:
        raise DataError(str(path), "has no phrases", "one phrase a line", "")
    return found


def write_words(
    words: Iterable[str], given: Ways, tokens: TokenTable, known: Lexicon, kind: str, guess: Guess | None = None
) -> Lexicon:
    """The pronunciations of each word: those given, else those of the model's lexicon, else its spelling, or of a model
    of phones the guess.

    Raises one DataError for all words that have none.
    """
    problems: list[Problem] = []
    entries: dict[str, tuple[Pronunciation, ...]] = {}
    words = sorted(words)
    if guess and tokens.unit == "phone":
        silent = [word for word in words if word not in given and word not in known.entries]
        given = {**given, **{word: (way,) for word, way in guess(silent, tokens).items()}}
    for word in words:
        try:
            entries[word] = _ways(word, given, tokens, known, f"{kind} '{word}'")
        except DataError as error:
            problems += error.problems
    raise_all(problems)
    return Lexicon(entries)


def spellings(phrase: str, lexicon: Lexicon, tokens: TokenTable) -> list[tuple[tuple[int, ...], ...]]:
    """Combinations of its words' pronunciations, a tuple of labels for each word; at most MAX_SPELLINGS."""
    ways = [lexicon.pronunciations(word, tokens) for word in phrase.split()]
    return list(itertools.islice(itertools.product(*ways), MAX_SPELLINGS))


def _parse(line: str, kind: PhraseKind) -> Phrase:
    where = f"{kind.name} '{line}'"
    head, _, stated = line.rpartition(":")
    try:
        number = float(stated) if head else None
    except ValueError:
        example = f"write phrase:{kind.example:g}"
        raise UsageError(f"{where}: '{stated.strip()}' is not a {kind.number}; {example}") from None
    if number is not None and not 0 <= number <= kind.largest:
        raise UsageError(f"{where}: {kind.number} {number:g} must be from 0 to {kind.largest:g}")
    text, _, sound = (head or line).partition("=")
    if not text.split():
        raise UsageError(f"{where}: has no words")
    if sound and len(text.split()) > 1:
        raise UsageError(f"{where}: a pronunciation belongs to one word; give each word its own line")
    return Phrase(" ".join(text.split()), number, tuple(sound.split()))


def _ways(word: str, given: Ways, tokens: TokenTable, known: Lexicon, where: str) -> tuple[Pronunciation, ...]:
    if word in given:
        if unknown := [symbol for way in given[word] for symbol in way if symbol not in tokens.ids]:
            raise DataError(where, f"{', '.join(map(repr, unknown))} not in the token table", "the model's tokens", "")
        return given[word]
    if word in known.entries:
        return known.entries[word]
    if tokens.unit == "phone":
        remedy = f"give its pronunciation: '{word}={' '.join(tokens.symbols[1:4])}'"
        raise DataError(where, "not in the lexicon", "words of the lexicon, or a pronunciation", remedy)
    if unknown := tokens.unknown(word):
        allowed = f"the model's {tokens.holds}s"
        raise DataError(
            where, f"has {', '.join(map(repr, unknown))}, which the model never writes", allowed, "respell it"
        )
    return (tuple(tokens.split(word)),)


KIND = PhraseKind("hot word", "weight", largest=50.0, example=4)

WORD_END = -1  # a symbol among the labels of hot words


@dataclass(frozen=True)
class HotWord:
    """A phrase, its weight in nats per word, and the pronunciation of its single word, if given."""

    phrase: str
    weight: float
    pronunciation: tuple[str, ...] = ()


@dataclass
class _State:
    """A node of the automaton. ``earned``: score of the phrase so far; ``share``: what its last label added."""

    share: float = 0.0
    earned: float = 0.0
    children: dict[int, int] = field(default_factory=dict)
    fallback: int = 0
    is_phrase: bool = False


class Automaton:
    """Scores of hot words, label by label (Aho & Corasick 1975). States are integers.

    It reads the labels of a hypothesis with a word-end symbol between words, so that "cat" is not found in
    "concatenate". Each label of a phrase earns its share of the phrase's weight at once, which keeps the hypothesis in
    the beam; the score is taken back where the phrase breaks off, and kept once it is complete. So in the end only
    whole phrases gain, and other text keeps its score.
    """

    def __init__(self, phrases: Iterable[tuple[Sequence[Sequence[int]], float]]) -> None:
        """phrases: (the labels of each word, the weight of each word)."""
        self._states = [_State()]
        self._moves: dict[tuple[int, int], tuple[float, int]] = {}
        for words, weight in phrases:  # a word's labels and its end have equal shares; the end before them has none
            number = self._child(0, WORD_END, 0.0)
            for labels in words:
                for symbol in (*labels, WORD_END):
                    number = self._child(number, symbol, weight / (len(labels) + 1))
            self._states[number].is_phrase = True
        self._link()
        self.start = self._states[0].children.get(WORD_END, 0)
        self.largest_gain = max([0.0, *(state.share for state in self._states)])

    def step(self, state: int, label: int) -> tuple[float, int]:
        """The score of a label or WORD_END, negative where a phrase breaks off, and the next state."""
        found = self._moves.get((state, label))
        if found is None:
            found = self._moves[state, label] = self._step(state, label)
        return found

    def finish(self, state: int) -> float:
        """The score at the end of the recording, <= 0: that of unfinished phrases is taken back."""
        return -self._unfinished(state)

    def _step(self, state: int, label: int) -> tuple[float, int]:
        before = self._unfinished(state)
        while state and label not in self._states[state].children:
            state = self._states[state].fallback
        new = self._states[state].children.get(label, 0)
        # A complete phrase keeps its score; a longer one that continues it is counted from there.
        total = self._states[new].earned if self._states[new].is_phrase else self._unfinished(new)
        return total - before, new

    def _unfinished(self, state: int) -> float:
        """The score of a phrase that is not complete."""
        return 0.0 if self._states[state].is_phrase else self._states[state].earned

    def _child(self, number: int, symbol: int, share: float) -> int:
        children = self._states[number].children
        if symbol not in children:
            children[symbol] = len(self._states)
            self._states.append(_State())
        child = self._states[children[symbol]]
        child.share = max(child.share, share)
        return children[symbol]

    def _link(self) -> None:
        """Breadth first: the score of each node, and its longest proper suffix that is a node too."""
        queue = list(self._states[0].children.values())
        for number in queue:
            node = self._states[number]
            for symbol, child in node.children.items():
                queue.append(child)
                # Scores after a whole phrase start from 0: the phrase keeps its own.
                self._states[child].earned = self._unfinished(number) + self._states[child].share
                suffix = node.fallback
                while suffix and symbol not in self._states[suffix].children:
                    suffix = self._states[suffix].fallback
                self._states[child].fallback = self._states[suffix].children.get(symbol, 0)


class HotWords:
    """The hot words of one model."""

    def __init__(
        self,
        hot_words: Sequence[HotWord],
        tokens: TokenTable,
        lexicon: Lexicon | None,
        guess: Guess | None = None,
    ) -> None:
        """lexicon: the model's own, whose words keep their pronunciations; None for open vocabulary.

        Words that it lacks are spelled, or pronounced as given or as guessed. Raises one DataError for all words where
        none is possible.
        """
        words = {word for hot_word in hot_words for word in hot_word.phrase.split()}
        given = {h.phrase: (h.pronunciation,) for h in hot_words if h.pronunciation}
        self.lexicon = write_words(words, given, tokens, lexicon or Lexicon({}), KIND.name, guess)
        self.automaton = Automaton(
            (words, hot_word.weight)
            for hot_word in hot_words
            for words in spellings(hot_word.phrase, self.lexicon, tokens)
        )


def parse_hot_words(text: str, weight: float) -> list[HotWord]:
    """Parse a list of phrases; the number is a weight, ``weight`` by default."""
    return [_hot_word(phrase, weight) for phrase in parse_phrases(text, KIND)]


def read_hot_words(path: Path, weight: float) -> list[HotWord]:
    """Read a list from a file. Raises DataError if it cannot be read or has none."""
    return [_hot_word(phrase, weight) for phrase in read_phrases(path, KIND)]


def _hot_word(phrase: Phrase, weight: float) -> HotWord:
    return HotWord(phrase.text, weight if phrase.number is None else phrase.number, phrase.pronunciation)


# Grammars

_TOKEN = re.compile(r"\s*(\$?[^\s()\[\]|=$]+|[()\[\]|])")

MAX_STATES = 100_000  # of an expanded grammar


class Grammar:
    """A language model: sentences that the grammar allows score 0, all others are impossible.

    Its states are the sets of places in the grammar that the words so far may lead to.
    """

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
