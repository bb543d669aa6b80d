"""Drafts of a piece, ranked by their likelihood and by errors of voice leading.

The cost of a draft is its NLL in nats plus NATS_PER_ERROR for each error. The NLL of a model that continues is that of
all tokens, each given those before it. A model that fills in has none; its NLL is that of the generated notes, each
voice given all others, where a note has the mean of its steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.composer import Scorer
from recitative.music.composition import GenerationRequest, on_grid
from recitative.music.frames import MaskedCode
from recitative.music.likelihood import cross_entropy, likelihood_of
from recitative.music.piece import SILENT, Piece, Pitches, to_grid
from recitative.music.settings import FrameSettings
from recitative.music.statistics import FIFTH, OCTAVE, parallels
from recitative.stage import Ids, Padded

NATS_PER_ERROR = 3.0  # as much as a note that is 20 times less likely
WIDEST_SPACING = 12  # semitones between neighboring voices above the bass (Aldwell and Schachter)


@dataclass(frozen=True)
class RuleErrors:
    """Counts. crossings and spacing: changes of chord with crossed voices, and with upper voices more than an octave
    apart; out_of_range: notes"""

    fifths: int
    octaves: int
    crossings: int
    spacing: int
    out_of_range: int

    @property
    def total(self) -> int:
        return self.fifths + self.octaves + self.crossings + self.spacing + self.out_of_range

    def __str__(self) -> str:
        counts = (
            (self.fifths, "parallel fifth"), (self.octaves, "parallel octave"), (self.crossings, "crossing"),
            (self.spacing, "wide spacing"), (self.out_of_range, "note out of range"),
        )  # fmt: skip
        named = [f"{count} {_plural(name, count)}" for count, name in counts if count]
        return ", ".join(named) or "no rule errors"


def _plural(name: str, count: int) -> str:
    if count == 1:
        return name
    return name.replace("note", "notes") if name.startswith("note") else f"{name}s"


@dataclass(frozen=True)
class Draft:
    """nats: NLL of ``count`` units, tokens or notes; errors: None for music without voices"""

    piece: Piece
    nats: float
    count: int
    errors: RuleErrors | None = None
    unit: str = "token"

    @property
    def cost(self) -> float:
        return self.nats + NATS_PER_ERROR * (self.errors.total if self.errors else 0)

    def __str__(self) -> str:
        likelihood = f"{self.nats / max(1, self.count):.3f} nats per {self.unit}"
        return f"{likelihood}, {self.errors}" if self.errors else likelihood


def rank(scorer: Scorer, request: GenerationRequest, pieces: Sequence[Piece]) -> list[Draft]:
    """The best draft first. pieces: of ``compose`` with this request"""
    frames = scorer.frames
    drafts = []
    for piece in pieces:
        tokens = frames.code.tokens(on_grid(piece, frames))
        errors = None if frames.sets else rule_errors(piece, frames)
        if scorer.fills:
            nats, count = _masked_nats(scorer, tokens, request)
            drafts.append(Draft(piece, nats, count, errors, "note"))
        else:
            found = likelihood_of(scorer, [tokens], scorer.settings.pieces.key)
            drafts.append(Draft(piece, found.nats, found.tokens, errors))
    return sorted(drafts, key=lambda draft: draft.cost)


def _masked_nats(scorer: Scorer, tokens: Ids, request: GenerationRequest) -> tuple[float, int]:
    """(the NLL of the generated notes of tokens (T, V), each voice given the others, and their number)."""
    code = MaskedCode(scorer.frames.code)
    nats, count = 0.0, 0
    for voice in np.flatnonzero(request.free.any(axis=0)):
        free = request.free[:, voice]
        hidden = tokens[None].copy()
        hidden[0, free, voice] = code.code.hidden
        ids = Padded(code.context_ids(hidden, np.zeros(1, np.int64)), np.array([len(tokens)]))
        h, _ = scorer.context.step(ids, scorer.context.initial_state(1), last=True)
        choice, beside = code.choice_ids(hidden, int(voice))
        scores = scorer.scores(h.data[0, free], choice[0, free], beside[0, free])
        pitches = tokens[:, voice]
        notes = int((free & np.append(True, pitches[1:] != pitches[:-1])).sum())
        nats += cross_entropy(scores, pitches[free]) * notes / int(free.sum())
        count += notes
    return nats, count


def rule_errors(piece: Piece, frames: FrameSettings) -> RuleErrors:
    """The errors of a piece with voices, on the model's grid."""
    pitches = to_grid(piece.at_resolution(frames.steps_per_quarter), max(piece.voices, frames.voices)).pitches
    changes = np.append(True, (pitches[1:] != pitches[:-1]).any(axis=1))[: len(pitches)]
    chords = pitches[changes]
    ranges = frames.ranges or ((frames.lowest, frames.highest),) * frames.voices
    outside = sum(
        not ranges[note.voice][0] <= note.pitch <= ranges[note.voice][1]
        for note in piece.notes
        if note.voice < len(ranges)
    )
    upper = chords[:, :-1]
    return RuleErrors(
        parallels(pitches, FIFTH).count, parallels(pitches, OCTAVE).count, _far_apart(chords, 1, below=True),
        _far_apart(upper, WIDEST_SPACING, below=False), outside,
    )  # fmt: skip


def _far_apart(chords: Pitches, semitones: int, *, below: bool) -> int:
    """Chords in which a voice is above the one over it, or too far below. chords: (T, V)"""
    high, low = chords[:, :-1].astype(int), chords[:, 1:].astype(int)
    both = (high != SILENT) & (low != SILENT)
    found = low - high >= semitones if below else high - low > semitones
    return int((both & found).any(axis=1).sum())
