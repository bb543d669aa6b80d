"""Small models of events and pieces for tests."""

from __future__ import annotations

import numpy as np
import torch

from recitative.config import load_tree
from recitative.music.piece import Note, Piece
from recitative.music.settings import EventsSettings
from recitative.music.task import EventsModel, new_events_model

SMALL = [
    "kind=events", "events.steps_per_quarter=4", "events.voices=2", "events.lowest=55", "events.highest=70",
    "events.longest_length=8", "events.longest_shift=4", "pieces.streams=3", "pieces.bptt=16", "pieces.transpose=2",
    "model.embedding=6", "model.recurrent.hidden=7", "model.dropout=0.3", "train.epochs=3", "train.warmup_steps=2",
    "train.checkpoint_every_steps=4", "train.threads=1", "train.device=cpu",
]  # fmt: skip


def settings(*overrides: str) -> EventsSettings:
    return load_tree(EventsSettings, None, [*SMALL, *overrides])


def model(*overrides: str, seed: int = 1) -> EventsModel:
    """In evaluation mode, with weights large enough for every input to matter."""
    torch.manual_seed(seed)
    made = new_events_model(settings(*overrides))
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    made.network.eval()
    return made


def piece(rng: np.random.Generator, notes: int, name: str, lowest: int = 57, highest: int = 68) -> Piece:
    """At 4 steps per quarter, in two voices."""
    drawn = {
        (int(rng.integers(0, 4 * notes)), int(rng.integers(lowest, highest + 1)), int(rng.integers(2)))
        for _ in range(notes)
    }
    return Piece.of(
        (Note(start, pitch, int(rng.integers(1, 9)), voice) for start, pitch, voice in drawn), 4, 100.0, name
    )


def pieces(counts: list[int], seed: int = 0) -> list[Piece]:
    rng = np.random.default_rng(seed)
    return [piece(rng, notes, f"p{number}") for number, notes in enumerate(counts)]
