"""The report of a classifier on a labelled set: one HTML file that needs nothing else.

How often it is right and of what, what it takes for what, how far its probabilities can be believed, and its most
confident errors to listen to; each section of the page is one function below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from recitative.atomic import write_text
from recitative.classification.report_calibration import reliability_diagram
from recitative.classification.report_classes import class_table, confusion_matrix, most_confused
from recitative.classification.scoring import Labelled
from recitative.config import dump_settings
from recitative.errors import DataError
from recitative.features.utterances import read_utterance
from recitative.models.classifier_settings import ClassifierSettings
from recitative.page.document import bar, document, percent, table, tile
from recitative.page.sound import Recording, encode_flac, player
from recitative.page.spectrogram import spectrogram
from recitative.score.calibration import expected_calibration_error
from recitative.score.classes import wilson_interval

Progress = Callable[[int, int], None]

SHOWN_SPEAKERS = 40
SHOWN_LABELS = 3  # of each error


def write_report(
    labelled: Labelled,
    settings: ClassifierSettings,
    output: Path,
    *,
    title: str,
    errors: int,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write the page; atomic. errors: at most so many are shown; ``progress`` counts them."""
    shown = most_confident_errors(labelled, errors)
    cards = []
    for done, number in enumerate(shown):
        progress(done, len(shown))
        cards.append(error_card(labelled, number, settings.features.sample_rate))
    write_text(output, page(labelled, settings, title, cards))


def page(labelled: Labelled, settings: ClassifierSettings, title: str, cards: Sequence[str]) -> str:
    """The whole document; ``cards`` are the errors to show."""
    sections = [
        headline(labelled, settings, title),
        confusions(labelled),
        calibration(labelled),
        speakers(labelled),
        errors_section(labelled, cards),
        f'<details class="card"><summary>Settings</summary><pre>{escape(dump_settings(settings))}</pre></details>',
    ]
    return document(title, "".join(sections))


def headline(labelled: Labelled, settings: ClassifierSettings, title: str) -> str:
    """The name and the numbers one looks for first."""
    core, found = settings.model.recurrent, labelled.confusions
    speaker_count = len({utterance.speaker for utterance in labelled.utterances})
    speakers = "1 speaker" if speaker_count == 1 else f"{speaker_count} speakers"
    facts = [
        f"{found.total} recordings", speakers, f"{len(labelled.labels)} labels",
        f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}", f"{settings.model.pooling} over time",
    ]  # fmt: skip
    return (
        f'<h1>{escape(title)}</h1><div class="muted">{escape(" · ".join(facts))}</div>'
        f'<div class="tiles">{"".join(_tiles(labelled))}</div>'
    )


def _tiles(labelled: Labelled) -> list[str]:
    found = labelled.confusions
    low, high = wilson_interval(found.correct, found.total)
    sure = f"{found.correct} of {found.total}; 95 %: {100 * low:.2f} to {100 * high:.2f}"
    confidence = float(labelled.confidences.mean())
    ece = expected_calibration_error(labelled.confidences, labelled.correct)
    leaning = "more sure than right" if confidence > found.accuracy else "less sure than right"
    return [
        tile(percent(found.accuracy), "accuracy", sure),
        tile(percent(found.unweighted_average_recall), "average recall", "every label counts the same"),
        tile(percent(confidence), "mean confidence", leaning),
        tile(f"{ece:.3f}", "calibration error", "expected (ECE), 10 bins; 0 is best"),
        tile(f"{labelled.nats:.3f}", "nats a recording", "mean of -ln P of the label"),
    ]


def confusions(labelled: Labelled) -> str:
    """What it takes for what, and each label's recall and precision."""
    found = labelled.confusions
    return (
        '<h2>Labels <span class="muted">rows: what it is, columns: what it was called; shades are shares of the row'
        f'</span></h2><div class="grid-2">{confusion_matrix(found)}'
        f'<div class="stack">{class_table(found)}{most_confused(found)}</div></div>'
    )


def calibration(labelled: Labelled) -> str:
    """How far its probabilities can be believed."""
    diagram = reliability_diagram(labelled.confidences, labelled.correct)
    note = '<span class="muted">of 10 recordings that it is 80 % sure of, 8 should be right</span>'
    return f'<h2>Calibration {note}</h2><div class="grid-2">{diagram}</div>'


def speakers(labelled: Labelled) -> str:
    """Accuracy by speaker, the lowest first; nothing where there is one."""
    names = [utterance.speaker for utterance in labelled.utterances]
    totals, right = Counter(names), Counter(np.array(names)[labelled.correct].tolist())
    if len(totals) < 2:
        return ""
    worst_first = sorted(totals, key=lambda name: (right[name] / totals[name], name))
    rows = [
        (escape(name), f"{bar(right[name] / totals[name])} {percent(right[name] / totals[name])}",
         f"{right[name]} / {totals[name]}")
        for name in worst_first[:SHOWN_SPEAKERS]
    ]  # fmt: skip
    more = f'<p class="muted">the worst {SHOWN_SPEAKERS} of {len(totals)}</p>' if len(totals) > len(rows) else ""
    return f'<h2>Speakers</h2><div class="card">{table(("speaker", "accuracy", "right"), rows)}{more}</div>'


def errors_section(labelled: Labelled, cards: Sequence[str]) -> str:
    """The errors that it is surest of."""
    wrong = int((~labelled.correct).sum())
    if not wrong:
        return '<h2>Errors</h2><p class="muted">Every recording is called what it is.</p>'
    count = f"{len(cards)} of {wrong}" if len(cards) < wrong else f"all {wrong}"
    return (
        f'<h2>Errors <span class="muted">{count}, the most confident first; a click on a picture plays from there'
        f'</span></h2><div class="grid-2">{"".join(cards)}</div>'
    )


def most_confident_errors(labelled: Labelled, count: int) -> list[int]:
    """The numbers of the recordings with the most probable wrong labels, ties in the order of the data."""
    wrong = np.flatnonzero(~labelled.correct)
    surest_first: list[int] = wrong[np.argsort(-labelled.confidences[wrong], kind="stable")].tolist()
    return surest_first[:count]


def error_card(labelled: Labelled, number: int, sample_rate: int) -> str:
    """One ``<article>``: what it is, what it was called and how surely, its picture and its sound."""
    utterance = labelled.utterances[number]
    intended, heard = (labelled.labels[int(names[number])] for names in (labelled.true, labelled.given))
    said = (
        f'<div class="aligned"><span class="pair names"><span>intended</span><span>heard</span></span>'
        f'<span class="pair S"><span>{escape(intended)}</span><span>{escape(heard)}</span></span></div>'
    )
    heading = f'<h4>{escape(utterance.utt_id)} <span class="muted">speaker {escape(utterance.speaker)}</span></h4>'
    try:
        recording = Recording(read_utterance(utterance), sample_rate)
        sight = spectrogram(recording) + player(recording, "audio/flac", encode_flac)
    except DataError as error:
        sight = f'<p class="note">No picture: {escape(str(error))}</p>'
    return f'<article class="card utterance">{heading}{said}{_likeliest(labelled, number)}{sight}</article>'


def _likeliest(labelled: Labelled, number: int) -> str:
    """The likeliest labels with their probabilities, and that of the intended one if it is none of them."""
    log_probs, true = labelled.log_probs[number], int(labelled.true[number])
    order = np.argsort(-log_probs, kind="stable").tolist()
    shown = [*order[:SHOWN_LABELS], *([true] if true not in order[:SHOWN_LABELS] else [])]
    rows = []
    for label in shown:
        probability = float(np.exp(log_probs[label]))
        name = escape(labelled.labels[label])
        rows.append((f"<b>{name}</b>" if label == true else name, f"{bar(probability)} {probability:.3f}"))
    return table((), rows)
