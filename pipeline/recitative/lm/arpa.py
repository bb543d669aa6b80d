"""ARPA files, the exchange format of backoff n-gram models (SRILM's ngram-format(5), KenLM, Kaldi), plain or gzipped.

    \\data\\                  text may stand before it, as in MIT's and CMU's tools
    ngram 1=3               for each order, how many n-grams there are; an empty line ends this and every section,
                            which some tools leave out

    \\1-grams:
    -0.5 word -0.3          log10 probability, words, log10 backoff (not in the highest order; may be left out if 0)

    \\end\\

``<s>`` is held as ``NEVER``, whatever the file says (SRILM writes -99, KenLM 0): nobody asks for it. A file without
``<unk>`` gets one of log10 probability -100, as in KenLM: an unknown word is possible, and worse than any other.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from recitative.atomic import write_bytes
from recitative.errors import DataError
from recitative.lm.arpa_section import REMEDY, ArpaFile, Section, read_section, shown
from recitative.lm.model import BEGIN, END, UNKNOWN
from recitative.lm.table import LN_10, NEVER, NgramTable, Order

UNKNOWN_FLOOR = -100 * LN_10  # ln P(<unk>) of a file that doesn't list it


def read_arpa(path: str | Path, progress: Callable[[int, int], object] = lambda done, total: None) -> NgramTable:
    """Read a model; ``progress(n-grams read, of how many)`` is called now and then.

    Raises DataError that names the line for a count that isn't the header's, a row that isn't a number, n words and a
    number, a probability above one, a word or context that isn't listed, an n-gram that is listed twice, a word that
    isn't UTF-8, a file that ends early, and for one without ``<s>`` or ``</s>``.
    """
    return _read(ArpaFile(path), progress)


def parse_arpa(text: str, where: str) -> NgramTable:
    """The same of a file's content; ``where`` starts the error lines."""
    return _read(ArpaFile(where, text.encode("utf-8")), lambda done, total: None)


def _read(file: ArpaFile, progress: Callable[[int, int], object]) -> NgramTable:
    counts = _read_counts(file)
    table = NgramTable((), ())
    for n, count in enumerate(counts, start=1):
        report = partial(_report, progress, sum(counts[: n - 1]), sum(counts))
        section = read_section(file, n, count, n == len(counts), table.words, report)
        table = _unigram_table(section) if n == 1 else _with_order(table, section)
    line = file.next_text()
    if line != b"\\end\\":
        raise file.error(f"'{shown(line)}'", f"'\\end\\' after the {len(counts)} sections that the header names")
    file.finish()
    return table


def write_arpa(path: str | Path, table: NgramTable) -> None:
    """Write a model, gzipped if the name ends in .gz; atomic. Numbers have seven digits, which KenLM keeps too."""
    content = arpa_text(table).encode("utf-8")
    write_bytes(path, gzip.compress(content, 6, mtime=0) if str(path).endswith(".gz") else content)


def arpa_text(table: NgramTable) -> str:
    """The content of the file that ``read_arpa`` takes."""
    parts = ["\\data\\\n", *(f"ngram {n}={len(order)}\n" for n, order in enumerate(table.orders, start=1))]
    for n, (order, grams) in enumerate(zip(table.orders, table.grams, strict=True), start=1):
        parts.append(f"\n\\{n}-grams:\n")
        log_probs = (order.log_prob / LN_10 + 0.0).tolist()  # + 0.0 makes 0 of -0
        backoffs = (order.log_backoff / LN_10 + 0.0).tolist()
        for ids, log_prob, backoff in zip(grams.tolist(), log_probs, backoffs, strict=True):
            words = " ".join([table.words[number] for number in ids])
            last = f"\t{backoff:.7g}" if n < len(table.orders) else ""
            parts.append(f"{log_prob:.7g}\t{words}{last}\n")
    return "".join([*parts, "\n\\end\\\n"])


def _report(progress: Callable[[int, int], object], before: int, total: int, rows: int) -> None:
    progress(before + rows, total)


def _read_counts(file: ArpaFile) -> list[int]:
    """What stands before is anybody's: tools write what they are, and which options they had."""
    first = line = file.next_text()
    while line != b"\\data\\":
        line = file.next_before_data(first)
    counts: list[int] = []
    while (line := file.next()) and not line.endswith(b"-grams:"):
        match = re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line)
        if not match or int(match[1]) != len(counts) + 1:
            raise file.error(f"'{shown(line)}'", f"'ngram {len(counts) + 1}=COUNT'")
        counts.append(int(match[2]))
    if not counts:
        raise file.error("the header names no n-grams", "'ngram 1=COUNT' and so on")
    if line:
        file.put_back(line)
    return counts


def _unigram_table(section: Section) -> NgramTable:
    """Ids are those of the section; ``<unk>`` comes last if the file lacks it."""
    missing = {BEGIN, END}.difference(section.words)
    if missing:
        found = f"has no '{min(missing)}' among its 1-grams"
        raise DataError(str(section.file.path), found, "a model of sentences", REMEDY)
    words = section.words if UNKNOWN in section.words else (*section.words, UNKNOWN)
    added = len(words) - len(section.words)
    log_prob = np.append(section.log_prob, [UNKNOWN_FLOOR] * added)
    log_prob[words.index(BEGIN)] = NEVER
    contexts = np.zeros(len(words), np.int64)
    order = Order(contexts, np.arange(len(words)), log_prob, np.append(section.log_backoff, [0.0] * added))
    return NgramTable(words, (order,))


def _with_order(table: NgramTable, section: Section) -> NgramTable:
    """The table and one order more, sorted."""
    contexts = table.find(section.grams[:, :-1])
    n = section.grams.shape[1]
    section.require(contexts >= 0, f"has a context that is not among the {n - 1}-grams", "contexts that are")
    keys = contexts * len(table.words) + section.grams[:, -1]
    places = np.argsort(keys, kind="stable")
    fine = np.ones(len(keys), np.bool_)
    fine[places[1:]] = keys[places[1:]] != keys[places[:-1]]
    section.require(fine, "is listed twice", "every n-gram once")
    order = Order(contexts[places], section.grams[places, -1], section.log_prob[places], section.log_backoff[places])
    return NgramTable(table.words, (*table.orders, order))
