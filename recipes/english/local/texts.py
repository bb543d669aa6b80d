"""Make the sentences and the vocabulary of a language model from books, without the text of dev and test.

    python3 local/texts.py [--text DIR ...] --train data/train --apart-from data/dev data/test \
        --vocabulary 80000 --output data/lm

DIR has books as .txt files, in any subfolders. Sentences are normalized like the transcripts: lower case, numbers
written out, a-z and the apostrophe. A sentence that shares eight consecutive words with a transcript of dev or test
is left out. A book with ten or more such sentences is taken for the one that was read, and left out. Sentences that
occur in several books are used once. What was left out is printed. The vocabulary has the most frequent words of
books and training transcripts; other words become <unk>.

Writes OUTPUT/books.txt (if there are books), OUTPUT/transcripts.txt, and OUTPUT/dev.txt (of the first --apart-from),
with a sentence on each line; and OUTPUT/words, a text table with one word per line, for 'recitative lexicon'.
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
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RecitativeError, counted
from recitative.lm.arpa import UNKNOWN
from recitative.terminal import track
from recitative.text.normalize import normalize

ROW = 8  # consecutive words that a sentence may not share with a transcript
SAME_BOOK = 10  # shared sentences by which a book counts as the one that was read
LONGEST = 100  # words in a sentence
REPEATED = 5  # words from which on repeated sentences are dropped
WORD = re.compile(r"[a-z']*[a-z][a-z']*")
START = re.compile(r"\*\*\* ?START OF TH.*?\*\*\*", re.IGNORECASE | re.DOTALL)
END = re.compile(r"\*\*\* ?END OF TH", re.IGNORECASE)
PARAGRAPH = re.compile(r"\n\s*\n|\n(?=[ \t]+\S)")
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'’”)]*\s+(?=[\"'‘“(]*[A-Z])|[;:]\s|(?:--|—)")
INITIAL = re.compile(r"\b([A-Z])\.")


@dataclass
class Counts:
    """Counts of kept and dropped sentences."""

    kept: int = 0
    words: int = 0
    foreign: int = 0
    repeated: int = 0
    shared: int = 0
    books: tuple[str, ...] = ()  # books that were left out
    of_books: int = 0  # number of their sentences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, action="append", default=[], help="folder of .txt files")
    parser.add_argument("--train", type=Path, required=True, help="data directory whose transcripts are added")
    parser.add_argument("--apart-from", type=Path, nargs="+", required=True, help="data directories of dev and test")
    parser.add_argument("--vocabulary", type=int, default=80000, help="size of the vocabulary (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    try:
        transcripts = list(DataDirectory.read(arguments.train).texts.values())
        held_out = rows_of(text for path in arguments.apart_from for text in DataDirectory.read(path).texts.values())
        books = find_books(arguments.text)
        sentences, counts = read_books(books, held_out)
        own = [text for text in transcripts if not rows_of([text]) & held_out]
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
    """All .txt files in a fixed order. Raises DataError for a folder without any."""
    books: list[Path] = []
    for folder in folders:
        found = sorted(folder.rglob("*.txt"))
        if not found:
            raise DataError(str(folder), "has no .txt files", "books as plain text", "correct --text")
        books += found
    return books


def rows_of(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """All sequences of ``ROW`` consecutive words."""
    split = (text.split() for text in texts)
    return {tuple(words[i : i + ROW]) for words in split for i in range(len(words) - ROW + 1)}


def read_books(books: Sequence[Path], held_out: set[tuple[str, ...]]) -> tuple[list[str], Counts]:
    """Read the sentences of all books that share no sequence of words with ``held_out``."""
    kept: list[str] = []
    seen: set[int] = set()
    counts = Counts()
    for path in track(books, "read books", len(books)):
        clean, shared, foreign = [], 0, 0
        for sentence in sentences_of(book_text(path)):
            if not all(map(WORD.fullmatch, words := sentence.split())) or len(words) > LONGEST:
                foreign += 1
            elif rows_of([sentence]) & held_out:
                shared += 1
            else:
                clean.append(sentence)
        counts.foreign += foreign
        counts.shared += shared
        if shared >= SAME_BOOK:
            counts.books += (f"{path.name} ({counted(shared, 'sentence')} shared)",)
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
    """Read a book without Project Gutenberg's header and footer, and without accents."""
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
    """Split a text into normalized sentences of at least two words. Headings in capitals are skipped."""
    for paragraph in PARAGRAPH.split(text):
        if paragraph.isupper():
            continue
        joined = INITIAL.sub(r"\1", spoken(" ".join(paragraph.split()).replace("_", "")))
        for part in SENTENCE_END.split(joined):
            words = normalize(part)
            if " " in words:
                yield words


def vocabulary(sentences: Iterable[str], size: int) -> set[str]:
    """The most frequent words; ties in alphabetical order."""
    counts = Counter(word for sentence in sentences for word in sentence.split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return set(ranked[:size])


def write_sentences(path: Path, sentences: Iterable[str], words: set[str]) -> float:
    """Write one sentence per line. Returns the share of words that are unknown."""
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
    print(f"left out: {counts.shared} sentences that share {ROW} consecutive words with dev or test", file=sys.stderr)
    whole = "; ".join(counts.books) or "none"
    print(f"left out: books with {counted(counts.of_books, 'further sentence')}: {whole}", file=sys.stderr)
    print(f"left out: {own} training transcripts that share words with dev or test", file=sys.stderr)
    repeated = counted(counts.repeated, "repeated sentence")
    print(f"left out: {repeated}, {counts.foreign} with other characters", file=sys.stderr)
    print(f"vocabulary: {words} words; {unknown:.2%} of the books' words are unknown", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
