"""Hot words: phrases that a user expects, raised in the beam search while they are spelled.

An automaton (Aho & Corasick 1975) reads the labels of a hypothesis, with a mark between words, so that "cat" is not
found within "concatenate". Each label of a phrase earns its share of the phrase's weight at once, which keeps it in the
beam; what was earned is taken back where the phrase breaks off, and kept once it is complete. So no phrase but a whole
one gains anything in the end, and its neighbours keep their scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recitative.ctc.phrases import Kind, Phrase, parse_phrases, read_phrases, spellings, write_words
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

KIND = Kind("hot word", "weight", largest=50.0, example=4)

_WORD_END = -1  # the mark between words, among labels


@dataclass(frozen=True)
class HotWord:
    """A phrase, its weight in nats a word, and where given how its single word sounds."""

    phrase: str
    weight: float
    pronunciation: tuple[str, ...] = ()


@dataclass
class _State:
    """A node of the automaton. ``earned`` is what the phrase so far has got, ``share`` what the last label added."""

    share: float = 0.0
    earned: float = 0.0
    children: dict[int, int] = field(default_factory=dict)
    fallback: int = 0
    is_phrase: bool = False


class Automaton:
    """Phrases as label sequences -> what each label of a hypothesis earns. States are numbers."""

    def __init__(self, phrases: Iterable[tuple[Sequence[Sequence[int]], float]]) -> None:
        """phrases: (the labels of each word, what each word earns)."""
        self._states = [_State()]
        self._moves: dict[tuple[int, int], tuple[float, int]] = {}
        for words, weight in phrases:
            self._add(words, weight)
        self._link()
        self.start = self._states[0].children.get(_WORD_END, 0)
        self.largest_gain = max([0.0, *(state.share for state in self._states)])

    def step(self, state: int, label: int) -> tuple[float, int]:
        """What a label earns, less than nothing where a phrase breaks off, and the next state."""
        found = self._moves.get((state, label))
        if found is None:
            found = self._moves[state, label] = self._step(state, label)
        return found

    def end_word(self, state: int) -> tuple[float, int]:
        """The same for the end of a word."""
        return self.step(state, _WORD_END)

    def finish(self, state: int) -> float:
        """What the end of the recording takes back, 0 or less."""
        return -self._kept_back(state)

    def _step(self, state: int, label: int) -> tuple[float, int]:
        before = self._kept_back(state)
        while state and label not in self._states[state].children:
            state = self._states[state].fallback
        new = self._states[state].children.get(label, 0)
        # A complete phrase keeps what it earned; what a longer one goes on from is counted anew.
        total = self._states[new].earned if self._states[new].is_phrase else self._kept_back(new)
        return total - before, new

    def _kept_back(self, state: int) -> float:
        return 0.0 if self._states[state].is_phrase else self._states[state].earned

    def _add(self, words: Sequence[Sequence[int]], weight: float) -> None:
        """A word's labels and its end have equal shares; the end of the word before the first has none."""
        number = self._child(0, _WORD_END, 0.0)
        for labels in words:
            for symbol in (*labels, _WORD_END):
                number = self._child(number, symbol, weight / (len(labels) + 1))
        self._states[number].is_phrase = True

    def _child(self, number: int, symbol: int, share: float) -> int:
        children = self._states[number].children
        if symbol not in children:
            children[symbol] = len(self._states)
            self._states.append(_State())
        child = self._states[children[symbol]]
        child.share = max(child.share, share)
        return children[symbol]

    def _link(self) -> None:
        """Breadth first: what each node has earned, and the longest proper suffix of it that is a node too."""
        queue = list(self._states[0].children.values())
        for number in queue:
            node = self._states[number]
            for symbol, child in node.children.items():
                queue.append(child)
                # What follows a whole phrase begins anew: the phrase keeps what it has.
                self._states[child].earned = self._kept_back(number) + self._states[child].share
                suffix = node.fallback
                while suffix and symbol not in self._states[suffix].children:
                    suffix = self._states[suffix].fallback
                self._states[child].fallback = self._states[suffix].children.get(symbol, 0)


class HotWords:
    """Phrases made ready for one model."""

    def __init__(self, hot_words: Sequence[HotWord], tokens: TokenTable, lexicon: Lexicon | None) -> None:
        """lexicon: the model's own, whose words keep their pronunciations; None for open vocabulary.

        Words that it lacks are spelled, or pronounced as the phrase says. Raises one DataError for all that can be
        neither.
        """
        words = {word for hot_word in hot_words for word in hot_word.phrase.split()}
        given = {h.phrase: (h.pronunciation,) for h in hot_words if h.pronunciation}
        self.lexicon = write_words(words, given, tokens, lexicon or Lexicon({}), KIND.name)
        self.automaton = Automaton(
            (words, hot_word.weight)
            for hot_word in hot_words
            for words in spellings(hot_word.phrase, self.lexicon, tokens)
        )


def parse_hot_words(text: str, weight: float) -> list[HotWord]:
    """A list as ``ctc.phrases`` describes it; the number is a weight, ``weight`` where none is given."""
    return [_hot_word(phrase, weight) for phrase in parse_phrases(text, KIND)]


def read_hot_words(path: Path, weight: float) -> list[HotWord]:
    """A file of such a list. Raises DataError if it cannot be read or holds none."""
    return [_hot_word(phrase, weight) for phrase in read_phrases(path, KIND)]


def _hot_word(phrase: Phrase, weight: float) -> HotWord:
    return HotWord(phrase.text, weight if phrase.number is None else phrase.number, phrase.pronunciation)
