"""Words that a model does not know, without training and without PyTorch: pronouncing them with a letter-to-sound model
(``asr.g2p_task``), and adding them to an exported recognizer."""

from __future__ import annotations

import gzip
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from recitative import pretrained
from recitative.asr.kind import G2P, RECOGNIZER, Language, language_of
from recitative.atomic import write_bytes
from recitative.decoding.hypotheses import best_labels
from recitative.errors import DataError, Problem, UsageError, raise_all
from recitative.lm.arpa import MARKS
from recitative.model.kind import read_entries, with_metadata, with_texts
from recitative.model.onnx_stage import open_file, read_model
from recitative.reading import LARGEST_SETTINGS, read_text
from recitative.stage import Array, Padded, Stage, run_whole
from recitative.text.tokens import Lexicon, Pronunciation, TokenTable, name_of, symbol_of, without_stress

ROWS = 256  # words that are pronounced at once


class Pronouncer:
    """A loaded letter-to-sound model."""

    def __init__(self, network: Stage[Array], letters: TokenTable, phones: TokenTable) -> None:
        """``network`` is a stage, letter ids (N, T) int64 -> log probabilities (N, T, frames_per_letter * V)."""
        self.network = network
        self.letters = letters
        self.phones = phones

    def pronounce(self, words: Iterable[str]) -> dict[str, Pronunciation]:
        """Word -> its most probable phones; words with an unknown letter, or without phones, are left out."""
        known = sorted((word for word in dict.fromkeys(words) if word and not self.letters.unknown(word)), key=len)
        found: dict[str, Pronunciation] = {}
        for start in range(0, len(known), ROWS):
            found |= self._pronounce(known[start : start + ROWS])
        return found

    def _pronounce(self, words: Sequence[str]) -> dict[str, Pronunciation]:
        lengths = np.array([len(word) for word in words], np.int64)
        letters = np.zeros((len(words), lengths.max()), np.int64)
        for row, word in zip(letters, words, strict=True):
            row[: len(word)] = self.letters.encode(word)
        y = run_whole(self.network, Padded(letters, lengths))
        log_probs = y.data.reshape(len(words), -1, len(self.phones))  # each letter's frames one after another
        rows = best_labels(Padded(log_probs, lengths * (log_probs.shape[1] // letters.shape[1])))
        return {w: tuple(self.phones.symbols[i] for i in row) for w, row in zip(words, rows, strict=True) if row}


def guess(words: Sequence[str], tokens: TokenTable) -> Mapping[str, Pronunciation]:
    """Word -> its phones by the English letter-to-sound model that comes with the package.

    Empty if ``tokens`` lacks some of its phones. Words with unknown letters are left out. Case is ignored.
    """
    if not words or not (pronouncer := _pretrained()) or not set(pronouncer.phones.symbols) <= set(tokens.symbols):
        return {}
    found = pronouncer.pronounce([word.lower() for word in words])
    return {word: found[word.lower()] for word in words if word.lower() in found}


@cache
def _pretrained() -> Pronouncer | None:
    path = pretrained.path_of(pretrained.G2P)
    return open_file(path, G2P) if path else None


# Words added to an exported recognizer that decodes with a lexicon: each gets its pronunciations in the lexicon and, if
# the n-gram model does not know it, a unigram. Nothing else in the file changes.

PROBABILITY = 0.001  # of an added word, unless there are many
MOST = 0.5  # maximum sum of the probabilities of all added words

GIVEN, SPELLED = "given", "spelling"  # sources of pronunciations, beside letter-to-sound models


@dataclass(frozen=True)
class ListedWord:
    """A line of a word list; ``pronunciation`` is empty if none is given."""

    word: str
    pronunciation: Pronunciation
    where: str  # file:line


@dataclass(frozen=True)
class Pronounced:
    """A pronunciation that is new to a lexicon, and its source."""

    word: str
    pronunciation: Pronunciation
    source: str


@dataclass(frozen=True)
class Additions:
    """The additions to a model.

    pronounced: in the order of the list
    known:      listed words that the lexicon already had, with the given pronunciation if there was one
    scored:     words that the language model did not know
    log_prob:   ln P of their unigrams
    """

    pronounced: tuple[Pronounced, ...]
    known: tuple[str, ...]
    scored: tuple[str, ...] = ()
    log_prob: float = 0.0


@dataclass(frozen=True)
class LetterToSound:
    """A letter-to-sound model that is opened when a word needs it; ``name`` stands in tables and errors."""

    name: str
    open: Callable[[], Pronouncer]


def add_words(
    model: Path, words: Path, output: Path, g2p: LetterToSound | None, log_prob: float | None = None
) -> Additions:
    """Write a recognizer's file with the words of a list; atomic, and gzipped if the name ends in .gz.

    log_prob: ln P of each unigram; None: that of PROBABILITY, or of equal parts of MOST if these are less
    Raises DataError for another model or one without a lexicon, and one with all bad lines of the list; UsageError for
    a ``log_prob`` without a language model, and where a word needs the letter-to-sound model and there is none.
    """
    content, entries = read_model(model, RECOGNIZER)
    metadata = read_entries(entries, str(model), RECOGNIZER)
    language, tokens = language_of(metadata.extras), metadata.extras["tokens"]
    if language.lexicon is None:
        remedy = "favor words with --hotwords when you transcribe"
        raise DataError(str(model), "has no lexicon", "a recognizer that decodes with a lexicon", remedy)
    if log_prob is not None and not language.ngram:
        raise UsageError(f"--log-prob: {model} has no language model; leave it out")
    listed = read_word_list(words, tokens)
    pronounced = pronounce_words(listed, language.lexicon, tokens, g2p)
    texts, scored, log_prob = _texts(language, listed, pronounced, log_prob)
    made = with_metadata(content, with_texts(entries, metadata, texts))
    write_bytes(output, gzip.compress(made, mtime=0) if output.suffix == ".gz" else made)
    new = {one.word for one in pronounced}
    known = dict.fromkeys(line.word for line in listed if line.word not in new)
    return Additions(pronounced, tuple(known), scored, log_prob)


def _texts(
    language: Language, listed: Sequence[ListedWord], pronounced: Sequence[Pronounced], log_prob: float | None
) -> tuple[dict[str, str], tuple[str, ...], float]:
    """The changed extras by file name, the words that are new to the language model, and their ln P."""
    assert language.lexicon is not None, "a model without one is refused"
    ways: dict[str, tuple[Pronunciation, ...]] = {}
    for one in pronounced:
        ways[one.word] = (*ways.get(one.word, ()), one.pronunciation)
    texts = {"lexicon.txt": language.lexicon.with_entries(Lexicon(ways)).to_text()} if ways else {}
    lm = language.lm
    scored = tuple(dict.fromkeys(line.word for line in listed if lm and not lm.knows(line.word)))
    if lm is None or not scored:
        return texts, (), 0.0
    log_prob = math.log(min(PROBABILITY, MOST / len(scored))) if log_prob is None else log_prob
    return {**texts, "lm.ngram": lm.with_words(scored, log_prob).to_text()}, scored, log_prob


def read_word_list(path: Path, tokens: TokenTable) -> list[ListedWord]:
    """One word a line, with its pronunciation in the model's tokens if it is given, as in a lexicon.

    Stress marks of phones that the model does not have are dropped. Raises one DataError with all bad lines.
    """
    lines = read_text(path, "a list of words, one a line", limit=LARGEST_SETTINGS).split("\n")
    listed: list[ListedWord] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        word, *names = line.split() or [""]
        where = f"{path}:{number}"
        given = map(symbol_of, names)
        symbols = tuple(symbol if symbol in tokens.ids else without_stress(symbol) for symbol in given)
        if word and (problem := _fault(word, symbols, where, tokens)):
            problems.append(problem)
        elif word:
            listed.append(ListedWord(word, symbols, where))
    raise_all(problems)
    if not listed:
        raise DataError(str(path), "has no words", "one word a line", "")
    return listed


def _fault(word: str, symbols: Pronunciation, where: str, tokens: TokenTable) -> Problem | None:
    if word in MARKS:
        return Problem(where, f"'{word}' is a mark of language models", "a word", "remove the line")
    if bad := [sign for sign in word if unicodedata.category(sign) == "Cc" or sign == "\N{REPLACEMENT CHARACTER}"]:
        return Problem(where, f"'{word}' has {bad[0]!a}", "a word of readable characters", "correct the line")
    if unknown := [name_of(symbol) for symbol in symbols if symbol not in tokens.ids]:
        found = f"'{word}' has {', '.join(map(repr, dict.fromkeys(unknown)))}, not among the model's {tokens.unit}s"
        return Problem(where, found, "one word a line, and its pronunciation", "correct the line")
    return None


def pronounce_words(
    listed: Sequence[ListedWord], lexicon: Lexicon, tokens: TokenTable, g2p: LetterToSound | None
) -> tuple[Pronounced, ...]:
    """The pronunciations that a lexicon lacks: those given, and one for every word without any.

    Raises one DataError for all words that cannot be pronounced.
    """
    given = {line.word for line in listed if line.pronunciation}
    missing = [line for line in listed if line.word not in given and line.word not in lexicon.entries]
    guessed, source = _guess(missing, tokens, g2p) if tokens.unit == "phone" else _spell(missing, tokens)
    found: dict[tuple[str, Pronunciation], Pronounced] = {}
    for line in listed:
        way = line.pronunciation or guessed.get(line.word, ())
        if way and way not in lexicon.entries.get(line.word, ()):
            found.setdefault((line.word, way), Pronounced(line.word, way, GIVEN if line.pronunciation else source))
    return tuple(found.values())


def _spell(missing: Sequence[ListedWord], tokens: TokenTable) -> tuple[dict[str, Pronunciation], str]:
    problems = []
    for line in missing:
        if unknown := tokens.unknown(line.word):
            found = f"'{line.word}' has {', '.join(map(repr, unknown))}, which the model never writes"
            problems.append(Problem(line.where, found, f"the model's {tokens.holds}s", "spell it otherwise"))
    raise_all(problems)
    return {line.word: tuple(tokens.split(line.word)) for line in missing}, SPELLED


def _guess(
    missing: Sequence[ListedWord], tokens: TokenTable, g2p: LetterToSound | None
) -> tuple[dict[str, Pronunciation], str]:
    """Pronunciations by a letter-to-sound model, which may know lower case only."""
    if not missing:
        return {}, ""
    remedy = f"write its pronunciation behind it, such as '{missing[0].word} {' '.join(tokens.symbols[1:4])}'"
    if g2p is None:
        found = f"'{missing[0].word}' has no pronunciation, and there is no letter-to-sound model"
        raise UsageError(f"{missing[0].where}: {found}; give one with --g2p, or {remedy}")
    pronouncer = g2p.open()
    letters = pronouncer.letters
    spelled = {line.word: line.word if not letters.unknown(line.word) else line.word.lower() for line in missing}
    said = pronouncer.pronounce(spelled.values())
    problems: list[Problem] = []
    for line in missing:
        way = said.get(spelled[line.word], ())
        unknown = letters.unknown(spelled[line.word]) or [phone for phone in way if phone not in tokens.ids]
        if not way:
            strange = f" with {', '.join(map(repr, unknown))}" if unknown else ""
            problems.append(Problem(line.where, f"{g2p.name} cannot pronounce '{line.word}'{strange}", "", remedy))
        elif unknown:
            found = f"{g2p.name} pronounces '{line.word}' {' '.join(way)}, and {unknown[0]} is no phone of the model"
            problems.append(Problem(line.where, found, "a model of the same phones", remedy))
    raise_all(problems)
    return {word: said[spelling] for word, spelling in spelled.items()}, g2p.name
