"""The token table, which maps characters, sentence pieces, words or phones to ids; learning sentence pieces; the
vocabulary of language models; and the lexicon, the pronunciations of each word in the tokens of a model.

File format, as in Kaldi's and k2's tokens.txt: one ``symbol id`` line per token, ids from 0 without gaps. Id 0 is
``<blank>``; the space is written ``<space>``; a word is written as SentencePiece writes it, ``▁word``. The form of the
symbols determines whether a table holds characters, words, or phones such as ``AH``. Sentence pieces have a third
column, ``symbol id score``, the log probability of the piece (a unigram language model, Kudo 2018), by which words are
segmented. Nothing is normalized here: 'é' as one code point and as two are different.

A vocabulary is a token table with another interpretation. Id 0, CTC's blank, is the end of a sentence, ``</s>``, which
also precedes each sentence. One symbol represents all that are not in the table: the word ``<unk>``, or U+FFFD,
Unicode's replacement character.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

from recitative.atomic import write_text
from recitative.errors import DataError, Problem, UsageError, counted, raise_all
from recitative.reading import LARGEST_SETTINGS, read_text

WORD_START = "\N{LOWER ONE EIGHTH BLOCK}"  # sentencepiece's symbol for the space before a word

MAX_SENTENCE_BYTES = 1 << 20  # sentencepiece silently skips longer ones; its default is 4192


class PieceSegmenter:
    """Segments words into sentence pieces: the segmentation with the largest sum of scores. Results are cached.

    A piece begins with a space where it begins a word, so the joined pieces of a text are the text with a leading
    space. Pieces never cross a space: each word is segmented by itself.
    """

    def __init__(self, scores: Mapping[str, float]) -> None:
        """scores: piece -> ln P. Every character of the pieces, including the space, is a piece itself."""
        self._scores = scores
        self._longest = max(map(len, scores), default=0)
        self._known: dict[str, tuple[str, ...]] = {}

    def segment(self, word: str) -> tuple[str, ...]:
        """A word without its space -> its pieces. Unknown characters are separate pieces."""
        found = self._known.get(word)
        if found is None:
            found = self._known[word] = self._best(f" {word}")
        return found

    def _best(self, text: str) -> tuple[str, ...]:
        """Viterbi search; of equal segmentations the one with the longest last piece, as in sentencepiece."""
        totals, begins = [0.0], [0]
        for end in range(1, len(text) + 1):
            best, begin = -math.inf, end - 1
            for start in range(max(0, end - self._longest), end):
                total = totals[start] + self._scores.get(text[start:end], -math.inf)
                if total > best:
                    best, begin = total, start
            totals.append(best if best > -math.inf else totals[begin])
            begins.append(begin)
        pieces, end = [], len(text)
        while end:
            pieces.append(text[begins[end] : end])
            end = begins[end]
        return tuple(reversed(pieces))


def learn_pieces(texts: Iterable[str], size: int) -> dict[str, float]:
    """At most ``size`` pieces of texts (words with single spaces) and their scores, the most probable first.

    They include every character of the texts. Raises DataError if there are more characters than ``size`` or the texts
    contain U+2581, which represents the space; UsageError if ``sentencepiece`` is not installed.
    """
    sentences = list(texts)
    if any(WORD_START in text for text in sentences):
        raise DataError("transcripts", f"have '{WORD_START}', the symbol for the start of a word", "", "remove it")
    characters = {sign for text in sentences for sign in text} | {" "}
    if len(characters) > size:
        found = f"have {counted(len(characters), 'character')}, including the space"
        raise DataError(
            "transcripts", found, f"at most {size}, the number of pieces", "choose more pieces, or normalize the texts"
        )
    return _trained(sentences, size, len(characters))


def _trained(sentences: list[str], size: int, characters: int) -> dict[str, float]:
    try:
        import sentencepiece
    except ImportError:
        raise UsageError("sentence pieces need the package 'sentencepiece'; pip install sentencepiece") from None
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="unigram",
        vocab_size=size + 1,  # including its symbol for unknown characters
        hard_vocab_limit=False,  # a small corpus may have fewer
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=MAX_SENTENCE_BYTES,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    made = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    numbers = [number for number in range(len(made)) if not made.is_unknown(number)]
    return {made.id_to_piece(n).replace(WORD_START, " "): round(made.get_score(n), 6) for n in numbers}


BLANK = "<blank>"
SPACE = "<space>"

PlainUnit = Literal["character", "word", "phone"]
Unit = Literal[PlainUnit, "piece"]


@dataclass(frozen=True)
class TokenTable:
    """symbols[i] is the character or phone with id i, or a space and the word; symbols[0] is '<blank>'.

    The joined symbols of a hypothesis are its text for characters and, but for the first space, for words and pieces.
    Words of phones need a lexicon (``Lexicon``); here their text is the phones separated by spaces.
    scores: of pieces, ln P of symbols[1], symbols[2], ...; empty for other symbols.
    """

    symbols: tuple[str, ...]
    scores: tuple[float, ...] = ()

    @classmethod
    def from_texts(cls, texts: Iterable[str], unit: PlainUnit = "character") -> TokenTable:
        """The table of all characters, words or phones in ``texts``, in code point order."""
        found = {symbol for text in texts for symbol in _split(text, unit)}
        return cls((BLANK, *sorted(found)))

    @classmethod
    def of_pieces(cls, scores: Mapping[str, float]) -> TokenTable:
        """The table of sentence pieces from ``learn_pieces``, in their order."""
        return cls((BLANK, *scores), tuple(scores.values()))

    @classmethod
    def read(cls, path: str | Path) -> TokenTable:
        """Raises DataError that names the line unless there are unique symbols of one kind with ids 0, 1, 2, ..."""
        content = read_text(path, "a token table", "make it with 'recitative tokens'", limit=LARGEST_SETTINGS)
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: str, path: str) -> TokenTable:
        """The same of a file's content; ``path`` starts the error lines."""
        lines = content.rstrip("\n").split("\n")
        symbols: dict[str, None] = {}  # in order
        scores: list[float] = []
        for number, line in enumerate(lines):
            where = f"{path}:{number + 1}"
            bare, score = _score_of(where, line, number, scores)
            symbols[_parse_line(where, bare, number, symbols)] = None
            scores += score
        table = cls(tuple(symbols), tuple(scores))
        table._require_one_kind(path)
        return table

    def _require_one_kind(self, where: str) -> None:
        signs = {sign for symbol in self.symbols[1:] for sign in symbol}
        for number, symbol in enumerate(self.symbols[1:], start=1):
            if not _suits(symbol, self.unit):
                found = f"'{name_of(symbol)}' among {self.unit}s"
                raise DataError(f"{where}:{number + 1}", found, "characters, words or phones, not a mixture", "")
        if self.unit == "piece" and (missing := sorted(signs - self.ids.keys())):
            found = f"{', '.join(map(repr, missing))} occur only within pieces"
            raise DataError(where, found, "each character of a piece as a piece too", "make the table again")

    def to_text(self) -> str:
        """The content of the file."""
        columns = ["", *(f" {score}" for score in self.scores)] if self.scores else [""] * len(self.symbols)
        rows = zip(self.symbols, columns, strict=True)
        return "".join(f"{name_of(symbol)} {number}{column}\n" for number, (symbol, column) in enumerate(rows))

    def write(self, path: str | Path) -> None:
        """Write the table; atomic."""
        write_text(path, self.to_text())

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def unit(self) -> Unit:
        """The kind of symbols: pieces have scores; characters have length 1; words begin with a space; others are
        phones.
        """
        if self.scores:
            return "piece"
        long = [symbol for symbol in self.symbols[1:] if len(symbol) > 1]
        if not long:
            return "character"
        return "word" if long[0].startswith(" ") else "phone"

    @property
    def source(self) -> str:
        """Its name in messages; see ``Spelling``."""
        return "token table"

    @property
    def holds(self) -> str:
        """The kind of its entries in messages: pieces can spell whatever their characters can."""
        return "character" if self.unit == "piece" else self.unit

    @property
    def verb(self) -> str:
        """The command that creates it."""
        return "tokens"

    @cached_property
    def ids(self) -> dict[str, int]:
        """Symbol -> id, without the blank."""
        return {symbol: number for number, symbol in enumerate(self.symbols) if number > 0}

    @cached_property
    def space(self) -> int | None:
        """The label between words; None if the table marks words otherwise, or not at all."""
        return self.ids.get(" ") if self.unit == "character" else None

    def split(self, text: str) -> list[str]:
        """Text -> its L symbols, known or not."""
        if self.unit == "piece":
            return [piece for word in text.split() for piece in self._segmenter.segment(word)]
        return _split(text, self.unit)

    @cached_property
    def _segmenter(self) -> PieceSegmenter:
        return PieceSegmenter(dict(zip(self.symbols[1:], self.scores, strict=True)))

    def unknown(self, text: str) -> list[str]:
        """The characters, words or phones of ``text`` that have no id, each once, sorted."""
        missing = set(self.split(text)) - self.ids.keys()
        return sorted(symbol.removeprefix(" ") if self.unit == "word" else symbol for symbol in missing)

    def encode(self, text: str, *, utt_id: str = "") -> list[int]:
        """Text -> L labels in 1..V-1. Raises DataError that names ``utt_id`` for a symbol not in the table."""
        ids = self.ids
        try:
            return [ids[symbol] for symbol in self.split(text)]
        except KeyError:
            where = f"utterance '{utt_id}'" if utt_id else f"text '{text}'"
            unknown = ", ".join(map(repr, self.unknown(text)))
            remedy = "normalize the text, or make the table again with 'recitative tokens'"
            raise DataError(where, f"{unknown} not in the token table", f"its {self.holds}s only", remedy) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Labels in 1..V-1 -> text. Raises ValueError for the blank and for other numbers."""
        for number in ids:
            if not 0 < number < len(self.symbols):
                raise ValueError(f"{number} is not a label; labels are 1 to {len(self.symbols) - 1}")
        text = (" " if self.unit == "phone" else "").join(self.symbols[number] for number in ids)
        return text.removeprefix(" ") if self.unit in ("word", "piece") else text


def _split(text: str, unit: PlainUnit) -> list[str]:
    match unit:
        case "word":
            return [f" {word}" for word in text.split()]
        case "phone":
            return text.split()
        case "character":
            return list(text)


def _suits(symbol: str, unit: Unit) -> bool:
    match unit:
        case "word":
            return len(symbol) > 1 and symbol.startswith(" ")
        case "phone":
            return not symbol.startswith(" ")
        case "character":
            return len(symbol) == 1
        case "piece":
            return True


def name_of(symbol: str) -> str:
    """A symbol as written in files."""
    if symbol == " ":
        return SPACE
    return WORD_START + symbol[1:] if symbol.startswith(" ") else symbol


def symbol_of(name: str) -> str:
    """The inverse of ``name_of``."""
    if name == SPACE:
        return " "
    return f" {name[1:]}" if len(name) > 1 and name.startswith(WORD_START) else name


def _score_of(where: str, line: str, number: int, before: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """A line without its third column, and that column, if any: either all symbols of a table have it, or none."""
    columns = line.split(" ")
    has_score = number > 0 and len(columns) == 3 and columns[1] == str(number)
    if number > 1 and has_score != bool(before):
        raise DataError(where, f"'{line}'", "a score for every piece, or for none", "")
    if not has_score:
        return line, ()
    try:
        score = float(columns[2])
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(where, f"score '{columns[2]}'", "a number", "make the table again with 'recitative tokens'")
    return f"{columns[0]} {columns[1]}", (score,)


def _parse_line(where: str, line: str, number: int, before: Container[str]) -> str:
    name, _, stated = line.rpartition(" ")
    symbol = symbol_of(name)
    if stated != str(number):
        raise DataError(
            where, f"'{line}'", f"'symbol {number}': ids count up from 0", "make it with 'recitative tokens'"
        )
    if (symbol == BLANK) != (number == 0):
        raise DataError(where, f"'{line}'", f"'{BLANK}' in the first line and only there", "")
    if not name or name == " " or (len(name) > 1 and name.split() != [name]):
        allowed = f"a character, '{SPACE}' for the space, '{WORD_START}word' for a word, or a phone"
        raise DataError(where, f"'{name}' is not a symbol", allowed, "")
    if symbol in before:
        raise DataError(where, f"'{name}' is repeated", "each symbol once", "remove the line and renumber the others")
    return symbol


def required_frames(labels: Sequence[object]) -> int:
    """The minimum number of frames for CTC labels: one each, and a blank between equal neighbors.

    ``labels`` are ids or symbols. Graves et al. 2006, section 3.1.
    """
    return len(labels) + sum(a == b for a, b in pairwise(labels))


TextUnit = Literal["character", "word"]  # text has no phones

END = 0
END_SYMBOL = "</s>"
UNKNOWN_SYMBOLS: dict[Unit, str] = {"character": "\N{REPLACEMENT CHARACTER}", "word": " <unk>"}


@dataclass(frozen=True)
class Vocabulary:
    """Ids 0..V-1 of the tokens of sentences. Raises DataError for a table without the unknown symbol."""

    table: TokenTable

    def __post_init__(self) -> None:
        symbol = UNKNOWN_SYMBOLS.get(self.unit, UNKNOWN_SYMBOLS["word"])
        if symbol not in self.table.ids:
            found = f"has no '{symbol.strip()}'"
            raise DataError("the token table", found, "the table of a language model", "train the model again")

    @classmethod
    def from_texts(cls, texts: Iterable[str], unit: TextUnit, min_count: int = 1) -> Vocabulary:
        """All symbols that occur at least ``min_count`` times, and for characters the space."""
        splitter = TokenTable((BLANK, UNKNOWN_SYMBOLS[unit]))
        counts = Counter(symbol for text in texts for symbol in splitter.split(_spaced(text)))
        kept = {symbol for symbol, count in counts.items() if count >= min_count} | {UNKNOWN_SYMBOLS[unit]}
        return cls(TokenTable((BLANK, *sorted(kept | ({" "} if unit == "character" else set())))))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def unit(self) -> Unit:
        return self.table.unit

    @cached_property
    def unknown(self) -> int:
        """The id of symbols that are not in the table."""
        return self.table.ids[UNKNOWN_SYMBOLS[self.unit]]

    @cached_property
    def space(self) -> int:
        """The id of the space; ``unknown`` in a table of words."""
        return self.table.ids.get(" ", self.unknown)

    def encode(self, text: str) -> list[int]:
        """Words, separated by any blanks -> L ids in 1..V-1, without the end."""
        return [self._id(symbol) for symbol in self._split(text)]

    def encode_word(self, word: str) -> list[int]:
        """One word -> its id, or those of its characters. Raises ValueError unless it is one word."""
        if len(word.split()) != 1 or word != word.strip():
            raise ValueError(f"{word!r} is not one word")
        return self.encode(word)

    def knows(self, word: str) -> bool:
        """Whether the word, or each of its characters, has an id of its own."""
        return self.unknown not in self.encode(word)

    def symbol(self, number: int) -> str:
        """A token as text: a character, a word, or '</s>'."""
        return END_SYMBOL if number == END else self.table.symbols[number].strip() or " "

    def count_unknown(self, texts: Sequence[str]) -> Counter[str]:
        """The characters or words of ``texts`` without an id of their own, with counts."""
        symbols = (symbol for text in texts for symbol in self._split(text))
        return Counter(symbol.strip() or " " for symbol in symbols if self._id(symbol) == self.unknown)

    def _split(self, text: str) -> list[str]:
        return self.table.split(_spaced(text))

    def _id(self, symbol: str) -> int:
        return self.table.ids.get(symbol, self.unknown)


def _spaced(text: str) -> str:
    return " ".join(text.split())


class TokenWithTimes(Protocol):
    """A token of a decoder: a letter, a space, or a space and a word."""

    @property
    def token(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def confidence(self) -> float: ...


@dataclass(frozen=True)
class Word:
    word: str
    start_s: float  # start of its first token, from the start of the recording
    end_s: float  # end of its last token
    confidence: float  # the lowest of its tokens, 0..1

    def later(self, seconds: float) -> Word:
        """The same word, ``seconds`` later."""
        return replace(self, start_s=round(self.start_s + seconds, 3), end_s=round(self.end_s + seconds, 3))

    def to_dict(self) -> dict[str, Any]:
        """word, start, end (s), confidence (0..1)."""
        return {"word": self.word, "start": self.start_s, "end": self.end_s, "confidence": self.confidence}


def words_of(tokens: Iterable[TokenWithTimes]) -> list[Word]:
    """Join tokens into words, separated by spaces in any position."""
    words: list[Word] = []
    open_word = False
    for token in tokens:
        letters = token.token.strip()
        begins = token.token[:1].isspace() or not open_word
        if letters and begins:
            words.append(Word(letters, token.start_s, token.end_s, token.confidence))
        elif letters:
            last = words[-1]
            words[-1] = Word(last.word + letters, last.start_s, token.end_s, min(last.confidence, token.confidence))
        open_word = bool(letters)
    return words


# The lexicon: the pronunciations of each word. Its file is as Kaldi's lexicon.txt: one ``word token token ...`` line
# per pronunciation. Tokens are phones, the characters of a spelling without the space between words, or its sentence
# pieces, written as in a token table. Training uses the first pronunciation of a word; decoding and alignment accept
# all.


Pronunciation = tuple[str, ...]

_VARIANT = re.compile(r"\(\d+\)$")  # CMU's dictionaries write a word's further pronunciations WORD(2)
_STRESSED = re.compile(r"(AA|AE|AH|AO|AW|AX|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)[0-2]")  # ARPAbet's vowels, nothing else's


@dataclass(frozen=True)
class Lexicon:
    """word -> its pronunciations, each a tuple of token symbols."""

    entries: Mapping[str, tuple[Pronunciation, ...]]

    @classmethod
    def read(cls, path: str | Path, tokens: TokenTable | None = None) -> Lexicon:
        """Raises one DataError with every line that has no pronunciation, is repeated, or has an unknown symbol.

        tokens: the symbols that may occur; None = any.
        """
        return cls.parse(read_text(path, "a lexicon, 'word token token ...' lines"), str(path), tokens)

    @classmethod
    def parse(cls, content: str, where: str, tokens: TokenTable | None = None) -> Lexicon:
        """The content of a lexicon file; ``where`` starts the error lines."""
        entries: dict[str, tuple[Pronunciation, ...]] = {}
        problems: list[Problem] = []
        known = _Symbols(tokens)
        for number, line in enumerate(content.splitlines(), start=1):
            if not (fields := line.split()):
                continue
            word, *names = fields
            symbols = tuple([known[name] for name in names])
            before = entries.get(word, ())
            if not symbols or symbols in before or (known.unknown and not known.unknown.isdisjoint(symbols)):
                found, remedy = _fault(symbols, before, known.unknown)
                problems.append(Problem(f"{where}:{number}", f"'{word}' {found}", "", remedy))
            else:
                entries[word] = (*before, symbols)
        if not entries and not problems:
            problems.append(Problem(where, "has no words", "'word token token ...' lines", ""))
        raise_all(problems)
        return cls(entries)

    @classmethod
    def of_spelling(cls, words: Iterable[str], tokens: TokenTable) -> Lexicon:
        """Every word as its characters or its best pieces, or, in a table of words, as itself.

        Raises DataError for unknown characters or words, UsageError for a table of phones: a spelling has no phones.
        """
        if tokens.unit == "phone":
            raise UsageError("words cannot be spelled in phones; give a pronunciation dictionary")
        entries: dict[str, tuple[Pronunciation, ...]] = {}
        problems: list[Problem] = []
        for word in dict.fromkeys(words):
            if unknown := tokens.unknown(word):
                allowed = f"the {tokens.holds}s of the token table"
                problems.append(Problem(f"word '{word}'", f"{', '.join(map(repr, unknown))} not known", allowed, ""))
            entries[word] = (tuple(tokens.split(word)),)
        raise_all(problems)
        return cls(entries)

    def to_text(self) -> str:
        """The content of the file, sorted by word."""
        return "".join(
            f"{word} {' '.join(map(name_of, symbols))}\n"
            for word, ways in sorted(self.entries.items())
            for symbols in ways
        )

    def write(self, path: str | Path) -> None:
        """Write the lexicon; atomic."""
        write_text(path, self.to_text())

    def __len__(self) -> int:
        """The number of words."""
        return len(self.entries)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of all pronunciations, sorted."""
        return tuple(sorted({symbol for ways in self.entries.values() for symbols in ways for symbol in symbols}))

    def with_entries(self, more: Lexicon) -> Lexicon:
        """The union; a word in both has the pronunciations of both. Itself if there is nothing new."""
        if all(set(ways) <= set(self.entries.get(word, ())) for word, ways in more.entries.items()):
            return self
        merged = dict(self.entries)
        for word, ways in more.entries.items():
            merged[word] = tuple(dict.fromkeys((*merged.get(word, ()), *ways)))
        return Lexicon(merged)

    def only(self, words: Iterable[str]) -> Lexicon:
        """The entries of these words, as far as it has them."""
        return Lexicon({word: self.entries[word] for word in dict.fromkeys(words) if word in self.entries})

    def pronunciations(self, word: str, tokens: TokenTable) -> tuple[tuple[int, ...], ...]:
        """The labels of each pronunciation; empty for an unknown word."""
        return tuple(tuple(tokens.ids[symbol] for symbol in symbols) for symbols in self.entries.get(word, ()))

    def encode(self, text: str, tokens: TokenTable, *, utt_id: str = "") -> list[int]:
        """Text -> labels in 1..V-1, with the first pronunciation of each word.

        Raises DataError that names ``utt_id`` and the unknown words.
        """
        if unknown := self.unknown([text]):
            where = f"utterance '{utt_id}'" if utt_id else f"text '{text}'"
            names = ", ".join(map(repr, unknown))
            raise DataError(where, f"{names} not in the lexicon", "its words only", "add the pronunciation")
        return [tokens.ids[symbol] for word in text.split() for symbol in self.entries[word][0]]

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """The unknown words of ``texts``, with counts."""
        return Counter(word for text in texts for word in text.split() if word not in self.entries)


class Spelling(Protocol):
    """Conversion of text to labels, by a token table or by a lexicon of pronunciations."""

    def encode(self, text: str, *, utt_id: str = "") -> list[int]:
        """Text -> L labels in 1..V-1. Raises DataError that names ``utt_id`` and what is unknown."""
        ...

    def split(self, text: str) -> list[str]:
        """Text -> its L symbols, known or not."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The unknown parts of the text, each once, sorted."""
        ...

    @property
    def source(self) -> str:
        """Its name in messages: 'token table' or 'lexicon'."""
        ...

    @property
    def holds(self) -> str:
        """The kind of its entries in messages: 'character', 'word' or 'phone'."""
        ...

    @property
    def verb(self) -> str:
        """The command that creates it."""
        ...


@dataclass(frozen=True)
class PronouncedSpelling:
    """Spelling of words by their first pronunciations."""

    lexicon: Lexicon
    tokens: TokenTable
    source: str = "lexicon"
    holds: str = "word"
    verb: str = "lexicon"

    def encode(self, text: str, *, utt_id: str = "") -> list[int]:
        return self.lexicon.encode(text, self.tokens, utt_id=utt_id)

    def split(self, text: str) -> list[str]:
        """An unknown word counts as one symbol."""
        return [symbol for word in text.split() for symbol in self.lexicon.entries.get(word, ((word,),))[0]]

    def unknown(self, text: str) -> list[str]:
        return sorted(self.lexicon.unknown([text]))


def spelling_of(tokens: TokenTable, lexicon: Lexicon | None) -> Spelling:
    """Phones are looked up in the lexicon, characters and words in the table; without a lexicon, texts are phones."""
    return PronouncedSpelling(lexicon, tokens) if lexicon and tokens.unit == "phone" else tokens


class _Symbols(dict[str, str]):
    """Names in files -> symbols, one object for all places of a symbol; ``unknown`` are those that a table lacks."""

    def __init__(self, tokens: TokenTable | None) -> None:
        super().__init__({name_of(symbol): symbol for symbol in tokens.symbols[1:]} if tokens else {})
        self.unknown: set[str] = set()
        self._tokens = tokens

    def __missing__(self, name: str) -> str:
        symbol = self[name] = symbol_of(name)
        if self._tokens and symbol not in self._tokens.ids:
            self.unknown.add(symbol)
        return symbol


def _fault(symbols: Pronunciation, known: Sequence[Pronunciation], unknown: Set[str]) -> tuple[str, str]:
    """The fault of a pronunciation, and its remedy."""
    if not symbols:
        return "has no pronunciation", "write its tokens behind it"
    if symbols in known:
        return "has this pronunciation already", "remove the line"
    unknown_symbols = dict.fromkeys(symbol for symbol in symbols if symbol in unknown)
    return f"has {', '.join(map(repr, unknown_symbols))}, not in the token table", "correct the line"


def read_dictionary(path: Path, lower: bool = False, keep_stress: bool = False) -> Lexicon:
    """A lexicon file, or one in the manner of CMU's: ``WORD(2)`` is another way to say ``WORD``;
    ``;;;`` at the beginning of a line and `` # `` within one begin a comment. A pronunciation that is there twice, or
    is the same without stress, counts once."""
    lines = read_text(path, "a dictionary").splitlines()
    first: dict[str, int] = {}  # entry -> where it is first
    plain = ["" if line.startswith(";;;") else _plain(line, lower, keep_stress) for line in lines]
    once = [entry if first.setdefault(entry, number) == number else "" for number, entry in enumerate(plain)]
    return Lexicon.parse("\n".join(once), str(path))


def without_stress(phone: str) -> str:
    """One of ARPAbet's vowels without its stress mark; any other phone as it is."""
    return _STRESSED.sub(r"\1", phone) if _STRESSED.fullmatch(phone) else phone


def _plain(line: str, lower: bool, keep_stress: bool) -> str:
    word, *phones = line.split() or [""]
    if "#" in phones:  # a comment, as newer versions of CMU's dictionary have them behind a word
        phones = phones[: phones.index("#")]
    if not keep_stress:
        phones = [without_stress(phone) for phone in phones]
    word = _VARIANT.sub("", word)
    return " ".join([word.lower() if lower else word, *phones])
