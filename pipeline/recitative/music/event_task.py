"""The task of music as events: predict the next event of pieces, which are moved to other keys in every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from recitative.model.torch_stage import TorchStage
from recitative.music.event_composer import read_event_pieces
from recitative.music.event_likelihood import event_likelihood
from recitative.music.event_network import EventsModel, new_events_model
from recitative.music.event_settings import EventsSettings
from recitative.music.events import Event, EventVocabulary, Kind
from recitative.music.piece import Piece
from recitative.music.settings import MusicData
from recitative.stage import Ids
from recitative.train.run import TrainingRun
from recitative.train.stateful import StreamTask, TextStreams


class EventsTask(StreamTask):
    """Models are chosen by the nats for a token of the dev pieces, each of which starts from nothing."""

    score_unit = "nats per token"

    def __init__(self, model: EventsModel, streams: TextStreams, dev: Sequence[Piece], device: torch.device) -> None:
        """``dev``: as ``fitted`` leaves them."""
        super().__init__(model.network, streams, device)
        self.model, self.dev = model, dev

    def evaluate(self) -> Mapping[str, float]:
        found = event_likelihood(TorchStage(self.model.network), self.model.vocabulary, self.dev)
        scores = {"dev_nats_per_token": found.per_token, "dev_nats_per_note": found.per_note}
        return scores | {"score": found.per_token}


def prepare(settings: EventsSettings, data: MusicData, run: TrainingRun) -> EventsTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    skip = run.warn_of_left_out if data.skip_bad else None
    train, dev = (read_event_pieces(path, settings.events, skip) for path in (data.train, data.dev))
    run.start(settings)
    if train.cut:
        longest = settings.events.longest_length
        run.warn(f"{data.train}: {train.cut} of {train.notes} notes are longer than {longest} steps and end there")
    model = new_events_model(settings)
    return EventsTask(model, event_streams(train.pieces, settings), dev.pieces, run.device)


class Transposed:
    """Pieces as tokens, each moved in every epoch by semitones drawn from (seed, epoch, piece) alone.

    All shifts within ``most`` that keep every note in the vocabulary are as likely.
    """

    def __init__(self, pieces: Sequence[Piece], vocabulary: EventVocabulary, most: int, seed: int) -> None:
        self.tokens: list[Ids] = [np.array(vocabulary.encode(piece), np.int64) for piece in pieces]
        self._shifts = [_shifts(piece, vocabulary, most) for piece in pieces]
        self._notes = (
            vocabulary.ids[Event(Kind.NOTE, vocabulary.lowest)],
            vocabulary.ids[Event(Kind.NOTE, vocabulary.highest)],
        )
        self._seed = seed

    def __call__(self, epoch: int, number: int) -> Ids:
        """The tokens of a piece in an epoch."""
        low, high = self._shifts[number]
        semitones = int(np.random.default_rng([self._seed, epoch, number]).integers(low, high + 1))
        tokens = self.tokens[number]
        first, last = self._notes
        return np.where((tokens >= first) & (tokens <= last), tokens + semitones, tokens)


def event_streams(pieces: Sequence[Piece], settings: EventsSettings) -> TextStreams:
    """The segments of every epoch of ``fitted`` pieces."""
    how, seed = settings.pieces, settings.train.seed
    moved = Transposed(pieces, settings.events.vocabulary, how.transpose, seed)
    return TextStreams(moved.tokens, streams=how.streams, bptt=how.bptt, seed=seed, variant=moved)


def _shifts(piece: Piece, vocabulary: EventVocabulary, most: int) -> tuple[int, int]:
    """The lowest and the highest; 0 is among them."""
    pitches = [note.pitch for note in piece.notes] or [vocabulary.lowest]
    return max(-most, vocabulary.lowest - min(pitches)), min(most, vocabulary.highest - max(pitches))
