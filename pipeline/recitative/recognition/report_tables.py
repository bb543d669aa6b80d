"""Parts of the report that show where the errors of a decoded set lie: kinds, words, characters, speakers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from recitative.page.document import bar, percent, table
from recitative.recognition.report_inputs import DecodedSet
from recitative.score.details import count_confusions
from recitative.score.wer import ErrorCounts, Pair

SHOWN_WORDS = 20  # confusions of words
SHOWN_CHARACTERS = 40  # rows and columns of the matrix
SHOWN_SPEAKERS = 40
CELL = 17  # pixels of the matrix
_NOTHING = "\N{EMPTY SET}"
_OPS = (("S", "substituted"), ("D", "deleted"), ("I", "inserted"))


def error_kinds(decoded: DecodedSet) -> str:
    """A bar of words and a bar of characters, divided into substitutions, deletions and insertions."""
    bars = _kinds_bar("words", decoded.words.total) + _kinds_bar("characters", decoded.characters.total)
    keys = "".join(f'<span class="key {op}">{name}</span>' for op, name in _OPS)
    return f'<div class="card"><h4>Kinds of error {keys}</h4>{bars}</div>'


def word_confusions(decoded: DecodedSet) -> str:
    """The most frequent wrong words."""
    counts = count_confusions(decoded.words.alignments.values())
    wrong = sorted(((n, pair) for pair, n in counts.items() if pair.op != "C"), key=lambda item: (-item[0], item[1]))
    chips = "".join(
        f'<span class="chip">{_word(pair.ref)} &rarr; <b class="{pair.op}">{_word(pair.hyp)}</b> {count}&times;</span>'
        for count, pair in wrong[:SHOWN_WORDS]
    )
    more = f'<span class="muted">of {len(wrong)} different ones</span>' if len(wrong) > SHOWN_WORDS else ""
    return f'<div class="card"><h4>Words most often wrong {more}</h4>{chips or "none"}</div>'


def speakers(decoded: DecodedSet) -> str:
    """Error rates by speaker, the highest first."""
    by_speaker = decoded.words.by_speaker
    if not by_speaker:
        return ""
    sentences = Counter(decoded.words.speakers.values())
    worst_first = sorted(by_speaker.items(), key=lambda item: (-item[1].rate, item[0]))
    highest = max(counts.rate for counts in by_speaker.values()) or 1.0
    rows = [
        (escape(speaker), _rate_bar(counts.rate, highest), f"{counts.errors} / {counts.ref}", str(sentences[speaker]))
        for speaker, counts in worst_first[:SHOWN_SPEAKERS]
    ]
    more = (
        f'<p class="muted">the worst {SHOWN_SPEAKERS} of {len(by_speaker)}</p>' if len(by_speaker) > len(rows) else ""
    )
    return f'<div class="card"><h4>Speakers</h4>{table(("speaker", "WER", "words", "sentences"), rows)}{more}</div>'


def character_matrix(decoded: DecodedSet) -> str:
    """Characters of the reference (rows) against the hypothesis (columns), with a row and a column for nothing."""
    counts = count_confusions(decoded.characters.alignments.values())
    symbols, left_out = _matrix_symbols(counts)
    cells = _matrix_cells(counts, symbols)
    size = CELL * (len(symbols) + 2)
    svg = f'<svg class="matrix" width="{size}" height="{size}" viewBox="0 0 {size} {size}">{cells}</svg>'
    note = f"; {left_out} with fewer errors are left out" if left_out else ""
    return (
        '<div class="card"><h4>Characters: rows said, columns recognised '
        f'<span class="muted">{_NOTHING} = inserted (row) or deleted (column){note}</span></h4>'
        f'<div class="scroll">{svg}</div></div>'
    )


def _kinds_bar(name: str, counts: ErrorCounts) -> str:
    amounts = {"S": counts.substitutions, "D": counts.deletions, "I": counts.insertions}
    parts = "".join(
        f'<span class="{op}" style="flex-grow:{amounts[op]}" title="{amounts[op]} {kind}">{amounts[op]}</span>'
        for op, kind in _OPS
        if amounts[op]
    )
    bar = f'<div class="kinds">{parts}</div>' if parts else '<div class="muted">none wrong</div>'
    return f'<div class="muted">{name}: {counts.errors} of {counts.ref} ({percent(counts.rate)})</div>{bar}'


def _rate_bar(rate: float, highest: float) -> str:
    return f"{bar(rate / highest if math.isfinite(rate) else 1.0)} {percent(rate)}"


def _word(word: str) -> str:
    return escape(word) if word else _NOTHING


def _matrix_symbols(counts: Mapping[Pair, int]) -> tuple[list[str], int]:
    """Characters in order, '' (nothing) last; of too many, those with the most errors. And how many were left out."""
    errors: Counter[str] = Counter()
    for pair, count in counts.items():
        for symbol in {pair.ref, pair.hyp} - {""}:
            errors[symbol] += count if pair.op != "C" else 0
    kept = [symbol for symbol, _ in sorted(errors.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_CHARACTERS]]
    return [*sorted(kept), ""], len(errors) - len(kept)


def _matrix_cells(counts: Mapping[Pair, int], symbols: Sequence[str]) -> str:
    place = {symbol: n for n, symbol in enumerate(symbols)}
    most_wrong = max((count for pair, count in counts.items() if pair.op != "C"), default=1)
    parts = [_matrix_label(symbol, n) for symbol, n in place.items()]
    for pair, count in counts.items():
        if pair.ref in place and pair.hyp in place:
            said = sum(n for other, n in counts.items() if other.ref == pair.ref)
            share = count / said if pair.op == "C" else math.sqrt(count / most_wrong)
            parts.append(_matrix_cell(pair, count, share, place[pair.ref], place[pair.hyp]))
    return "".join(parts)


def _matrix_label(symbol: str, n: int) -> str:
    shown = {"": _NOTHING, " ": "\N{OPEN BOX}"}.get(symbol, escape(symbol))
    along, across = CELL * (n + 1.5), CELL * 0.5
    return (
        f'<text x="{across}" y="{along}">{shown}</text><text x="{along}" y="{across}">{shown}</text>'
    )  # fmt: skip


def _matrix_cell(pair: Pair, count: int, share: float, row: int, column: int) -> str:
    kind = "right" if pair.op == "C" else "wrong"
    x, y = CELL * (column + 1), CELL * (row + 1)
    number = f'<text x="{x + CELL / 2}" y="{y + CELL / 2}" class="n">{count}</text>' if kind == "wrong" else ""
    return (
        f'<g><title>{_word(pair.ref)} &rarr; {_word(pair.hyp)}: {count}</title><rect class="{kind}" x="{x + 0.5}" '
        f'y="{y + 0.5}" width="{CELL - 1}" height="{CELL - 1}" fill-opacity="{0.15 + 0.75 * share:.2f}"/>{number}</g>'
    )


def values_table(values: Mapping[str, Any]) -> str:
    """Names and values of a flat mapping."""
    return table((), ((f'<span class="muted">{escape(str(k))}</span>', escape(str(v))) for k, v in values.items()))
