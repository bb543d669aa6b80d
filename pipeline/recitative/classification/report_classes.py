"""Parts of a classifier's report about its labels: the confusion matrix, recall and precision, frequent confusions."""

from __future__ import annotations

import math
from html import escape

from recitative.page.document import bar, percent, table
from recitative.score.classes import Confusions

SHOWN_CONFUSIONS = 20


def confusion_matrix(found: Confusions) -> str:
    """A table of counts: rows the true labels, columns those that were given; margins with recalls and precisions.

    A cell's shade is its share of the row; of errors its root, so that single ones are seen.
    """
    names = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in found.labels)
    head = f'<tr><th></th>{names}<th scope="col"><span>recall, %</span></th></tr>'
    rows = "".join(_row(found, number) for number in range(len(found.labels)))
    precisions = "".join(f"<td>{_whole_percent(found.precisions.get(label))}</td>" for label in found.labels)
    foot = f'<tr class="margin"><th scope="row">precision, %</th>{precisions}<td></td></tr>'
    return (
        '<div class="card"><h4>Confusions</h4><div class="scroll"><table class="confusions">'
        f"<thead>{head}</thead><tbody>{rows}{foot}</tbody></table></div></div>"
    )


def class_table(found: Confusions) -> str:
    """Each label's recall, precision and their harmonic mean, the lowest recall first; those without example last."""
    recalls, precisions, totals = found.recalls, found.precisions, found.counts.sum(axis=1).tolist()
    numbered = sorted(enumerate(found.labels), key=lambda item: (recalls.get(item[1], 2.0), item[1]))
    rows = [
        (escape(label), str(totals[number]), _barred(recalls.get(label)), _barred(precisions.get(label)),
         _f1(recalls.get(label), precisions.get(label)))
        for number, label in numbered
    ]  # fmt: skip
    head = ("label", "recordings", "recall", "precision", "F1")
    return f'<div class="card classes"><h4>Recall and precision</h4>{table(head, rows)}</div>'


def most_confused(found: Confusions) -> str:
    """The most frequent errors."""
    labels = found.labels
    wrong = [
        (-count, labels[true], labels[given])
        for true, row in enumerate(found.counts.tolist())
        for given, count in enumerate(row)
        if count and given != true
    ]
    chips = "".join(
        f'<span class="chip">{escape(true)} &rarr; <b class="S">{escape(given)}</b> {-count}&times;</span>'
        for count, true, given in sorted(wrong)[:SHOWN_CONFUSIONS]
    )
    more = f'<span class="muted">of {len(wrong)} different ones</span>' if len(wrong) > SHOWN_CONFUSIONS else ""
    return f'<div class="card"><h4>Most often confused {more}</h4>{chips or "none"}</div>'


def _row(found: Confusions, true: int) -> str:
    label, counts = found.labels[true], found.counts[true].tolist()
    total = sum(counts)
    cells = "".join(_cell(found, true, given, count, total) for given, count in enumerate(counts))
    recall = _whole_percent(found.recalls.get(label))
    return f'<tr><th scope="row">{escape(label)}</th>{cells}<td class="margin">{recall}</td></tr>'


def _cell(found: Confusions, true: int, given: int, count: int, total: int) -> str:
    if not count:
        return "<td></td>"
    share = count / total
    kind, shade = ("right", share) if given == true else ("wrong", math.sqrt(share))
    title = f"{found.labels[true]}, called {found.labels[given]}: {count} of {total} ({100 * share:.1f} %)"
    return f'<td class="{kind}" style="--shade:{100 * shade:.0f}%" title="{escape(title)}">{count}</td>'


def _barred(rate: float | None) -> str:
    return "&ndash;" if rate is None else f"{bar(rate)} {percent(rate)}"


def _whole_percent(rate: float | None) -> str:
    return "&ndash;" if rate is None else f"{100 * rate:.0f}"


def _f1(recall: float | None, precision: float | None) -> str:
    """2 r p / (r + p), where both are known."""
    if recall is None or precision is None:
        return "&ndash;"
    return f"{2 * recall * precision / (recall + precision) if recall + precision else 0.0:.3f}"
