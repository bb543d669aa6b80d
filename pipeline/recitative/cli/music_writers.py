"""What writes music for the command line: a model of voices or of events, with all that was asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recitative.cli.music_drafts import Wanted, draft_of, new_draft
from recitative.cli.music_files import Written
from recitative.lm.sampling import Sampling
from recitative.music.composer import OnProgress, Scorer
from recitative.music.composition import FINER, Limits, compose
from recitative.music.event_composer import EventLimits, EventScorer, Span, compose_events, nothing_given
from recitative.music.piece import Piece

NEW = "piece"  # the name of pieces that come of nothing

Write = Callable[[Piece | None, float, OnProgress], list[Written]]


@dataclass(frozen=True)
class Drawing:
    """How notes are drawn. sweeps: times that each is, of a model that fills in."""

    sampling: Sampling
    count: int
    seed: int
    sweeps: int


@dataclass(frozen=True)
class Writer:
    """write: a piece that is given, with ``steps_per_quarter``, or none; the tempo of new ones -> its versions."""

    steps_per_quarter: int
    write: Write


def voices_writer(scorer: Scorer, wanted: Wanted, limits: Limits, drawing: Drawing) -> Writer:
    """Continues pieces, or fills in what is wanted of them."""
    frames = scorer.frames

    def write(piece: Piece | None, tempo: float, on_progress: OnProgress) -> list[Written]:
        draft = draft_of(piece, wanted, frames) if piece else new_draft(wanted, frames, NEW, tempo)
        made = compose(
            scorer, draft, limits, drawing.sampling, count=drawing.count, seed=drawing.seed, sweeps=drawing.sweeps,
            on_progress=on_progress,
        )  # fmt: skip
        return [(one, frozenset(draft.given.notes)) for one in made]

    return Writer(frames.steps_per_quarter * FINER, write)


def events_writer(scorer: EventScorer, bars: int, limits: EventLimits, drawing: Drawing) -> Writer:
    """Continues pieces. What is given was complete, perhaps: it goes on for a bar before it may end."""
    events = scorer.events

    def write(piece: Piece | None, tempo: float, on_progress: OnProgress) -> list[Written]:
        span = Span(bars * events.bar, events.bar if piece else 0)
        given = piece or nothing_given(events, NEW, tempo)
        made = compose_events(
            scorer, given, limits, span, drawing.sampling, count=drawing.count, seed=drawing.seed,
            on_progress=on_progress,
        )  # fmt: skip
        return [(one, frozenset(given.notes)) for one in made]

    return Writer(events.steps_per_quarter * FINER, write)
