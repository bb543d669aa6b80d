"""Make passages of written English from books: .txt files, one passage a line, for training, dev and test.

    python3 local/prepare.py --text DIR ... [--apart-from data/dev data/test] --output data

The marks are those that a punctuation model knows, , . ? and !. A semicolon becomes a comma before a conjunction and a
period elsewhere, a colon a comma; a dash a comma or, at the end of a speech, a period; quotation marks and hyphens are
left out, brackets become commas. An exclamation mark within a sentence becomes a comma. Numbers and titles are written
out, as a recognizer writes them. A capital behind an opening quotation mark within a sentence is kept only in words
that the book has with capitals elsewhere, within sentences.

A passage is one or more consecutive sentences of at most 50 words together; longer sentences are passages of their
own, up to 100 words. Of every 25 books, by the checksum of their names, one is dev and one is test. As in
recipes/english/local/texts.py, passages that share eight consecutive words with a transcript of --apart-from are left
out, and books with ten such passages.
"""

from __future__ import annotations

# ruff: noqa: RUF001  # books have quotation marks of all kinds
import argparse
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "english" / "local"))

from numbers_as_words import spoken
from texts import INITIAL, PARAGRAPH, SAME_BOOK, book_text, find_books, rows_of

from recitative.atomic import write_text
from recitative.data.directory import DataDirectory
from recitative.errors import RecitativeError
from recitative.terminal import track

TOGETHER, LONGEST = 50, 100  # words of several sentences, and of one
ONE_OF = 25  # books
DEV_PASSAGES = 2000
SETS = {0: "test", 1: "dev"}

TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Dr": "Doctor", "St": "Saint", "Messrs": "Messieurs",
}  # fmt: skip
TITLE = re.compile(rf"\b({'|'.join(TITLES)})\b\.?")
ABBREVIATION = re.compile(
    r"\b(Esq|Rev|Col|Capt|Gen|Hon|Prof|Jr|Sr|Lieut|Sergt|Maj|Vol|No|viz|vol|i\. ?e|e\. ?g|cf|etc|ult|inst)\."
)
MIDDLE_NAME = re.compile(r"(?<=[a-z] )([A-Z][a-z]+)")
MIDDLE_WORD = re.compile(r"(?<=[a-z] )([a-z]+)")
CONJUNCTION = re.compile(
    r";['\"’” ]*(?=(?:and|but|or|nor|for|so|yet|which|who|whom|whose|that|as|if|when|while|where|though|because)\b)"
)
DASH_AT_END = re.compile(r"[ ]*(?:--+|—|–)[ ]*(?=[\"”]|$)|(?<=\w) -[ ]*(?=[\"”]|$)")
DASH = re.compile(r"[ ]*(?:--+|—|(?<= )[-–](?= ))[ ]*")
DOTS = re.compile(r"\.(?: ?\.)+|…")
OPENED = re.compile(r"[,:] *[\"“'‘]+([A-Z][a-z]*)\b")
BRACKET = re.compile(r" *[()\[\]]+ *")
QUOTES = re.compile(r"[\"“”«»{}_*]")
HEADING = re.compile(r"^(?:CHAPTER|Chapter|BOOK|Book|PART|Part) +(?:[IVXLC]+|\d+)\b[.,]? *")
MARK_RUN = re.compile(r"([,.?!;:])[ ,.;:]*(?=[,.?!])")
AFTER_END = re.compile(r"([.?!][ '’]*)([a-z])")
EXCLAIMED = re.compile(r"!(?=[ '’]*[a-z])")
SENTENCE_END = re.compile(r"(?<=[.?!]) +")
WORD = re.compile(r"[a-z']+")
KNOWN = re.compile(r"[A-Za-z' ,.?!-]+")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, action="append", required=True, help="folder of .txt files")
    parser.add_argument("--apart-from", type=Path, nargs="*", default=[], help="data directories")
    parser.add_argument(
        "--every", type=int, default=1, help="use only every N-th passage for training (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    try:
        read = (text for path in arguments.apart_from for text in DataDirectory.read(path).texts.values())
        make_sets(find_books(arguments.text), rows_of(read), arguments.every, arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def make_sets(books: list[Path], read: set[tuple[str, ...]], every: int, output: Path) -> None:
    """Write the sets, and say what was left out. read: sequences of words that no passage may have."""
    sets: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    shared, left_out = 0, []
    for path in track(books, "read books", len(books)):
        passages = list(passages_of(book_text(path)))
        kept = [passage for passage in passages if not (read and rows_of([_words_of(passage)]) & read)]
        shared += len(passages) - len(kept)
        if len(passages) - len(kept) >= SAME_BOOK:
            left_out.append(path.name)
        else:
            sets[SETS.get(zlib.crc32(path.name.encode()) % ONE_OF, "train")] += kept
    sets["train"] = sets["train"][::every]
    for name in ("dev", "test"):
        sets[name] = sets[name][:: max(1, len(sets[name]) // DEV_PASSAGES)]
    output.mkdir(parents=True, exist_ok=True)
    for name, passages in sets.items():
        write_text(output / f"{name}.txt", "".join(f"{passage}\n" for passage in passages))
        words = sum(passage.count(" ") + 1 for passage in passages)
        print(f"{output}/{name}.txt: {len(passages)} passages, {words} words", file=sys.stderr)
    print(f"left out: {shared} passages, and the books {', '.join(left_out) or '(none)'}", file=sys.stderr)


def passages_of(book: str) -> Iterator[str]:
    """Consecutive sentences of a book, as many as have ``TOGETHER`` words."""
    passage: list[str] = []
    names = names_in(book)
    for paragraph in PARAGRAPH.split(book):
        for sentence in sentences_of(paragraph, names):
            words = sentence.split()
            if passage and len(passage) + len(words) > TOGETHER:
                yield " ".join(passage)
                passage = []
            if len(words) <= LONGEST:
                passage += words
    if passage:
        yield " ".join(passage)


def names_in(book: str) -> set[str]:
    """Words that the book has with a capital more often than without, both behind a word in lower case."""
    capital, lower = Counter(MIDDLE_NAME.findall(book)), Counter(MIDDLE_WORD.findall(book))
    return {word for word, count in capital.items() if count > lower[word.lower()]} | {"I"}


def sentences_of(paragraph: str, names: Iterable[str]) -> Iterator[str]:
    """Sentences with the marks of a punctuation model. Headings, and sentences with other signs, are left out."""
    text = HEADING.sub("", " ".join(paragraph.split()))
    if text.isupper() or not text:
        return
    text = TITLE.sub(lambda found: TITLES[found[1]], text)
    text = INITIAL.sub(r"\1", ABBREVIATION.sub(r"\1", text))
    text = OPENED.sub(lambda found: f", {found[1] if found[1] in names else found[1].lower()}", text)
    text = DASH_AT_END.sub(".", text)
    text = BRACKET.sub(", ", text)
    text = DASH.sub(", ", DOTS.sub(lambda found: "." if _ends(found) else ",", text))
    text = CONJUNCTION.sub(", ", text).replace(";", ".").replace(":", ",")
    text = EXCLAIMED.sub(",", QUOTES.sub("", text))
    text = MARK_RUN.sub(lambda found: found[1] if found[1] in "?!." else "", text)
    text = spoken(text)
    text = re.sub(r" +(?=[,.?!])", "", " ".join(text.split()))
    text = re.sub(r"([?!.])[,.?!]+", r"\1", text)
    text = AFTER_END.sub(lambda found: found[1] + found[2].upper(), text)
    for sentence in SENTENCE_END.split(text):
        if KNOWN.fullmatch(sentence) and sentence[-1] in ".?!" and " " in sentence:
            yield sentence[0].upper() + sentence[1:]


def _words_of(passage: str) -> str:
    return " ".join(word.strip("'") for word in WORD.findall(passage.lower()))


def _ends(found: re.Match[str]) -> bool:
    """Whether the sentence ends with these dots."""
    behind = found.string[found.end() :].lstrip(" \"'”’")
    return not behind or behind[0].isupper()


if __name__ == "__main__":
    sys.exit(main())
