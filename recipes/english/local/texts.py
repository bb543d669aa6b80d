"""Make the sentences and the vocabulary of a language model from books, without those that the test is read from.

    python3 local/texts.py [--text DIR ...] --train data/train --apart-from data/dev data/test \
        --vocabulary 60000 --output data/lm

DIR holds books as .txt files, to any depth. Sentences become words as in the transcripts: lower case, figures as words,
a-z and the apostrophe. A sentence that shares eight words in a row with a transcript of dev or test is left out, and a
book of which ten or more are is taken for the one that was read, and left out whole; how much that was is printed.
A sentence that another book has too, such as another edition, is taken once. The vocabulary is the most frequent words
of books and training transcripts; other words become <unk>.

Written: OUTPUT/books.txt if there are any, OUTPUT/transcripts.txt and, of the first folder to be apart from,
OUTPUT/dev.txt, a sentence a line; and OUTPUT/words, each word as a text table's line, for 'recitative lexicon'.
"""

from __future__ import annotations

# ruff: noqa: RUF001  # books have quotation marks of all kinds
import argparse
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from numbers_as_words import spoken

from recitative.atomic import write_text
from recitative.cli.progress import track
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RecitativeError
from recitative.lm.query import UNKNOWN
from recitative.text.normalize import normalize

ROW = 8  # words that a sentence may not share with a transcript
SAME_BOOK = 10  # sentences shared that make a book the one that was read
LONGEST = 100  # words: what is longer is no sentence
REPEATED = 5  # words from which on a sentence is taken once
WORD = re.compile(r"[a-z']*[a-z][a-z']*")
START = re.compile(r"\*\*\* ?START OF TH.*?\*\*\*", re.IGNORECASE | re.DOTALL)
END = re.compile(r"\*\*\* ?END OF TH", re.IGNORECASE)
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=[ \t]+\S)")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'’”)]*\s+(?=[\"'‘“(]*[A-Z])|[;:]\s|(?:--|—)")
INITIAL = re.compile(r"\b([A-Z])\.")


@dataclass
class Counts:
    """What happened to the sentences, for the user to see."""

    kept: int = 0
    words: int = 0
    foreign: int = 0
    repeated: int = 0
    shared: int = 0
    books: tuple[str, ...] = ()  # left out whole
    of_books: int = 0  # their sentences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, action="append", default=[], help="folder of .txt files")
    parser.add_argument("--train", type=Path, required=True, help="data directory whose transcripts are text too")
    parser.add_argument("--apart-from", type=Path, nargs="+", required=True, help="data directories of dev and test")
    parser.add_argument("--vocabulary", type=int, default=60000, help="words (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    try:
        transcripts = list(DataDirectory.read(arguments.train).texts.values())
        heard = rows_of(text for path in arguments.apart_from for text in DataDirectory.read(path).texts.values())
        books = find_books(arguments.text)
        sentences, counts = read_books(books, heard)
        own = [text for text in transcripts if not rows_of([text]) & heard]
        words = vocabulary([*sentences, *own], arguments.vocabulary)
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "books.txt").unlink(missing_ok=True)
        unknown = write_sentences(arguments.output / "books.txt", sentences, words) if sentences else 0.0
        dev = DataDirectory.read(arguments.apart_from[0]).texts.values()
        write_text(arguments.output / "dev.txt", "\n".join(dev) + "\n")
        write_sentences(arguments.output / "transcripts.txt", own, words)
        write_text(arguments.output / "words", "".join(f"w{i:06d} {word}\n" for i, word in enumerate(sorted(words))))
        tell(counts, len(books), len(transcripts) - len(own), len(words), unknown, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def find_books(folders: Sequence[Path]) -> list[Path]:
    """Every .txt file, the same every time. Raises DataError for a folder without one."""
    books: list[Path] = []
    for folder in folders:
        found = sorted(folder.rglob("*.txt"))
        if not found:
            raise DataError(str(folder), "has no .txt files", "books as plain text", "correct --text")
        books += found
    return books


def rows_of(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """All ``ROW`` words that follow each other in a text."""
    split = (text.split() for text in texts)
    return {tuple(words[i : i + ROW]) for words in split for i in range(len(words) - ROW + 1)}


def read_books(books: Sequence[Path], heard: set[tuple[str, ...]]) -> tuple[list[str], Counts]:
    """The sentences of all books that share no row of words with what is ``heard``."""
    kept: list[str] = []
    seen: set[int] = set()
    counts = Counts()
    for path in track(books, "read books", len(books)):
        clean, shared, foreign = [], 0, 0
        for sentence in sentences_of(book_text(path)):
            if not all(map(WORD.fullmatch, words := sentence.split())) or len(words) > LONGEST:
                foreign += 1
            elif rows_of([sentence]) & heard:
                shared += 1
            else:
                clean.append(sentence)
        counts.foreign += foreign
        counts.shared += shared
        if shared >= SAME_BOOK:
            counts.books += (f"{path.name} ({shared} sentences shared)",)
            counts.of_books += len(clean)
            continue
        for sentence in clean:
            if sentence.count(" ") + 1 >= REPEATED and hash(sentence) in seen:
                counts.repeated += 1
                continue
            seen.add(hash(sentence))
            kept.append(sentence)
    counts.kept, counts.words = len(kept), sum(sentence.count(" ") + 1 for sentence in kept)
    return kept, counts


def book_text(path: Path) -> str:
    """A file's text, without what Project Gutenberg puts around it, its letters without accents."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    if start := START.search(text):
        text = text[start.end() :]
    if end := END.search(text):
        text = text[: end.start()]
    plain = unicodedata.normalize("NFKD", text.replace("\r", "").replace("æ", "ae").replace("œ", "oe"))
    return "".join(sign for sign in plain if not unicodedata.combining(sign))


def sentences_of(text: str) -> Iterator[str]:
    """Words with single spaces, at least two of them; headings in capitals are no sentences."""
    for paragraph in PARAGRAPH.split(text):
        if paragraph.isupper():
            continue
        joined = INITIAL.sub(r"\1", spoken(" ".join(paragraph.split()).replace("_", "")))
        for part in SENTENCE_END.split(joined):
            words = normalize(part)
            if " " in words:
                yield words


def vocabulary(sentences: Iterable[str], size: int) -> set[str]:
    """The most frequent words; of equally frequent ones the first in the order of the alphabet."""
    counts = Counter(word for sentence in sentences for word in sentence.split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return set(ranked[:size])


def write_sentences(path: Path, sentences: Iterable[str], words: set[str]) -> float:
    """Write them, a line each; returns the part of their words that are unknown."""
    lines, unknown, total = [], 0, 0
    for sentence in sentences:
        said = [word if word in words else UNKNOWN for word in sentence.split()]
        unknown += said.count(UNKNOWN)
        total += len(said)
        lines.append(" ".join(said))
    write_text(path, "\n".join(lines) + "\n")
    return unknown / max(total, 1)


def tell(counts: Counts, books: int, own: int, words: int, unknown: float, output: Path) -> None:
    print(
        f"{output}: {counts.kept} sentences, {counts.words} words of {books - len(counts.books)} books", file=sys.stderr
    )
    print(f"left out, as dev or test has {ROW} words in a row: {counts.shared} sentences of all books", file=sys.stderr)
    whole = "; ".join(counts.books) or "none"
    print(f"left out whole, with {counts.of_books} more sentences: {whole}", file=sys.stderr)
    print(f"left out of the training transcripts for the same reason: {own}", file=sys.stderr)
    print(f"left out: {counts.repeated} that another book has, {counts.foreign} with other signs", file=sys.stderr)
    print(f"vocabulary: {words} words; {unknown:.2%} of the books' words are unknown", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
