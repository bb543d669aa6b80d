"""The report of an experiment: one HTML file that needs nothing else, on a phone or a desk, light or dark.

Curves are drawn with ``page.chart``, errors with ``report_tables``, utterances with ``report_utterance``; each
section of the page is one function below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from recitative.atomic import write_text
from recitative.page.chart import LINEAR, LOG, SQUARE_ROOT, Array, Chart, Series, draw, summarise
from recitative.page.document import document, percent, table, tile
from recitative.recognition import report_tables as tables
from recitative.recognition.report_inputs import DecodedSet, Epoch, Experiment, Step, read_experiment
from recitative.recognition.report_utterance import utterance_card, worst_utterances
from recitative.score.wer import confidence_interval

Progress = Callable[[int, int, str], None]
"""Called with (done, of how many, what is being done)."""

WORST = 12  # utterances shown of each set
NAMED = 20  # steps or utterances named in a note


def write_report(
    experiment: Path, output: Path | None = None, *, worst: int = WORST, progress: Progress = lambda *_: None
) -> Path:
    """Write the report of an experiment folder and return its path, ``experiment/report.html`` by default.

    What ``report_inputs`` describes may be there in part; the page says what is missing. Raises UsageError if there is
    no such folder, DataError if it holds nothing to report or a damaged file.
    """
    progress(0, 1, "reading")
    found = read_experiment(experiment)
    shown = {decoded.name: worst_utterances(decoded, worst) for decoded in found.sets}
    total = 1 + sum(map(len, shown.values()))
    cards: dict[str, list[str]] = {name: [] for name in shown}
    for decoded in found.sets:
        for utt_id in shown[decoded.name]:
            progress(1 + sum(map(len, cards.values())), total, utt_id)
            cards[decoded.name].append(utterance_card(decoded, utt_id))
    target = output or experiment / "report.html"
    write_text(target, page(found, cards))
    progress(total, total, "done")
    return target


def page(experiment: Experiment, cards: dict[str, list[str]]) -> str:
    """The whole document; ``cards`` are the utterances to show of each set."""
    sections = [
        headline(experiment),
        missing(experiment),
        curves(experiment),
        *(decoded_set(decoded, cards[decoded.name]) for decoded in experiment.sets),
        epochs_table(experiment.epochs),
        settings_and_environment(experiment),
    ]
    return document(experiment.path.resolve().name, "".join(sections))


def headline(experiment: Experiment) -> str:
    """The name and the numbers one looks for first."""
    tiles = [one for decoded in experiment.sets for one in _set_tiles(decoded)] + _training_tiles(experiment)
    environment = experiment.environment
    facts = [str(environment[name]) for name in ("device", "machine") if name in environment]
    if "parameters" in environment:
        facts.insert(0, f"{environment['parameters'] / 1e6:.2f} M parameters")
    if "commit" in environment:
        facts.append(f"commit {environment['commit']}")
    return (
        f"<h1>{escape(experiment.path.resolve().name)}</h1>"
        f'<div class="muted">{escape(" · ".join(facts))}</div><div class="tiles">{"".join(tiles)}</div>'
    )


def missing(experiment: Experiment) -> str:
    """What is not there, so that nobody looks for it."""
    items = "".join(f"<li>{escape(line)}</li>" for line in experiment.missing)
    return f'<details class="note"><summary>Not in this report</summary><ul>{items}</ul></details>' if items else ""


def curves(experiment: Experiment) -> str:
    """How training went: losses, error rates, learning rate, gradient norm."""
    steps, epochs = experiment.steps, experiment.epochs
    if not steps and not epochs:
        return ""
    charts = (
        loss_chart(steps, epochs),
        rate_chart(epochs),
        lr_chart(steps),
        gradient_chart(steps, experiment.clip_norm),
    )
    note = '<span class="muted">by step; line = mean, band = lowest to highest of neighbouring steps</span>'
    return f'<h2>Training {note}</h2>{_skipped(steps)}<div class="grid-2">{"".join(map(draw, charts))}</div>'


def loss_chart(steps: Sequence[Step], epochs: Sequence[Epoch]) -> Chart:
    titles = [f"epoch {row.epoch}: dev loss {row.dev_loss:.4g}" for row in epochs]
    dev = Series("dev", 2, _column(epochs, "step"), _column(epochs, "dev_loss"), titles=titles)
    train = summarise("train", 1, _column(steps, "step"), _column(steps, "loss"))
    if not steps:
        train = Series("train", 1, dev.x, _column(epochs, "train_loss"))
    return Chart("Loss per label", (train, dev), LOG, marks=_skipped_at(steps), marks_name="skipped step")


def rate_chart(epochs: Sequence[Epoch]) -> Chart:
    x = _column(epochs, "step")
    lines = [
        Series(name, colour, x, 100 * _column(epochs, field), titles=_rate_titles(name, field, epochs))
        for name, colour, field in (("WER", 1, "dev_wer"), ("CER", 3, "dev_cer"))
    ]
    return Chart("Dev error rates", lines, SQUARE_ROOT, "{:g} %".format)


def lr_chart(steps: Sequence[Step]) -> Chart:
    line = summarise("learning rate", 1, _column(steps, "step"), _column(steps, "lr"))
    return Chart("Learning rate", (Series(line.name, 1, line.x, line.y),), LINEAR, _scientific)


def gradient_chart(steps: Sequence[Step], clip_norm: float | None) -> Chart:
    line = summarise("gradient norm", 1, _column(steps, "step"), _column(steps, "grad_norm"))
    clipped = sum(row.clipped for row in steps) / max(1, len(steps))
    level = (clip_norm, f"clipped above {clip_norm:g} ({100 * clipped:.1f} % of steps)") if clip_norm else None
    return Chart("Gradient norm", (line,), LOG, "{:g}".format, level, _skipped_at(steps), "skipped step")


def decoded_set(decoded: DecodedSet, cards: Sequence[str]) -> str:
    """Where the errors of one set are."""
    absent = decoded.words.missing
    note = f'<p class="note">No hypothesis, counted as all deleted: {escape(_first(absent))}</p>' if absent else ""
    worst = "".join(cards) or '<p class="muted">No utterance has an error.</p>'
    return (
        f"<h2>Set {escape(decoded.name)}</h2>{note}"
        f'<div class="grid-2"><div class="stack">{tables.error_kinds(decoded)}{tables.speakers(decoded)}'
        f"{tables.word_confusions(decoded)}</div>{tables.character_matrix(decoded)}</div>"
        f'<h2>Worst utterances of {escape(decoded.name)} <span class="muted">most errors first; letters stand where '
        f"the model said them; a click on a picture plays from there</span></h2>{worst}"
    )


def epochs_table(epochs: Sequence[Epoch]) -> str:
    """Every epoch's numbers, the best one marked."""
    if not epochs:
        return ""
    rows = [
        (
            f"{row.epoch}{' &#9733;' if row.best else ''}", str(row.step),
            f"{row.train_loss:.4f}", f"{row.dev_loss:.4f}",
            percent(row.dev_wer), percent(row.dev_cer), _duration(row.seconds),
        )
        for row in epochs
    ]  # fmt: skip
    head = ("epoch", "step", "train loss", "dev loss", "dev WER", "dev CER", "time")
    return (
        f'<details class="card"><summary>Epochs <span class="muted">&#9733; = best so far</span></summary>'
        f"{table(head, rows)}</details>"
    )


def settings_and_environment(experiment: Experiment) -> str:
    """What the numbers depend on."""
    settings = f'<details class="card"><summary>Settings</summary><pre>{escape(experiment.settings)}</pre></details>'
    values = tables.values_table(experiment.environment)
    environment = f'<details class="card"><summary>Environment</summary>{values}</details>'
    return (settings if experiment.settings else "") + (environment if experiment.environment else "")


def _set_tiles(decoded: DecodedSet) -> list[str]:
    low, high = confidence_interval(decoded.words.by_utterance.values())
    words, chars = decoded.words, decoded.characters
    known = math.isfinite(decoded.real_time)
    sure = f"{words.total.errors} of {words.total.ref} words; 95 %: {100 * low:.2f} to {100 * high:.2f}"
    return [
        tile(percent(words.total.rate), f"WER {decoded.name}", sure),
        tile(percent(chars.total.rate), f"CER {decoded.name}", f"{chars.total.errors} of {chars.total.ref}"),
        tile(percent(words.sentence_rate), f"SER {decoded.name}", words.sentence_counts().replace("/", "of")),
        *([tile(f"{decoded.real_time:.0f} x", "real time", f"decoding {decoded.name}")] if known else []),
    ]


def _training_tiles(experiment: Experiment) -> list[str]:
    steps, epochs = experiment.steps, experiment.epochs
    tiles = []
    scored = [row for row in epochs if math.isfinite(row.dev_wer)]
    if scored:
        best = min(scored, key=lambda row: row.dev_wer)
        tiles.append(tile(percent(best.dev_wer), "best dev WER", f"epoch {best.epoch}, step {best.step}"))
    if epochs:
        audio_s = sum(row.audio_s for row in steps if row.step <= epochs[-1].step)
        speed = f"{audio_s / epochs[-1].seconds:.0f} x real time" if audio_s and epochs[-1].seconds > 0 else ""
        tiles.append(tile(_duration(epochs[-1].seconds), "training", speed))
    if steps:
        tiles.append(tile(f"{steps[-1].step}", "steps", f"in epoch {steps[-1].epoch}, loss {steps[-1].loss:.3f}"))
    return tiles


def _skipped(steps: Sequence[Step]) -> str:
    at = [row.step for row in steps if row.skipped]
    if not at:
        return ""
    return f'<p class="note">{len(at)} of {len(steps)} steps skipped (NaN or inf): {_first(at)}</p>'


def _first(names: Sequence[object]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(str, names[:NAMED])) + more


def _skipped_at(steps: Sequence[Step]) -> list[float]:
    return [float(row.step) for row in steps if row.skipped]


def _rate_titles(name: str, field: str, epochs: Sequence[Epoch]) -> list[str]:
    return [
        f"epoch {row.epoch}: dev {name} {100 * getattr(row, field):.2f} %{', best so far' if row.best else ''}"
        for row in epochs
    ]


def _column(rows: Sequence[Step] | Sequence[Epoch], field: str) -> Array:
    return np.array([getattr(row, field) for row in rows], dtype=np.float64)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "&ndash;"
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def _scientific(value: float) -> str:
    """0.0015 as ``1.5e-3``: short enough for an axis."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}" if value else "0"
