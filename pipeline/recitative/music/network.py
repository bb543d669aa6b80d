"""Networks of music: a recurrent core with a head that scores the pitches of a voice, or a language model of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from recitative.lm.network import build_language_model
from recitative.model.kind import AnyKind
from recitative.music.events import EventVocabulary
from recitative.music.frames import FrameCode, MaskedCode
from recitative.music.kind import EVENTS, MUSIC
from recitative.music.settings import EventsSettings, MusicSettings
from recitative.nn.embedding import EmbeddedFeatures
from recitative.nn.heads import PitchHead
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout
from recitative.stage import Padded, State


class MusicNetwork(nn.Module):
    """``context`` reads frames as a stage, ids (N, T, F) -> (N, T, H); ``choice`` scores the pitches of a voice.

    The features are those of ``FrameCode`` with a forward core, and of ``MaskedCode`` with a bidirectional one.
    """

    def __init__(self, settings: MusicSettings) -> None:
        super().__init__()
        code, model = settings.frames.code, settings.model
        reads: FrameCode | MaskedCode = code if model.recurrent.direction == "forward" else MaskedCode(code)
        core = RecurrentStack(model.width, model.recurrent)
        self.context = Chain(
            {
                "features": EmbeddedFeatures(sum(reads.context_sizes), model.width, model.feature_dropout),
                "input_dropout": Dropout(model.width, model.dropout),
                "core": core,
                "output_dropout": Dropout(core.output_width, model.dropout),
            }
        )
        self.choice = PitchHead(
            core.output_width,
            model.choice_width,
            sum(reads.choice_sizes),
            code.pitches,
            reads.related,
            model.dropout,
            model.feature_dropout,
        )

    def initial_state(self, n: int) -> State:
        """The state of ``context``."""
        return self.context.initial_state(n)

    @property
    def stride(self) -> int:
        return self.context.stride

    @property
    def lookahead(self) -> int | None:
        return self.context.lookahead

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self.context.output_lengths(lengths)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        """A step of ``context``."""
        return self.context.step(x, state, last=last)

    def scores(self, h: Tensor, ids: Tensor, beside: Tensor) -> Tensor:
        """See ``PitchHead``."""
        scores: Tensor = self.choice(h, ids, beside)
        return scores


@dataclass(frozen=True)
class MusicModel:
    """A network of frames with its settings."""

    kind: ClassVar[AnyKind] = MUSIC
    settings: MusicSettings
    network: MusicNetwork

    @property
    def fills(self) -> bool:
        """Whether the model fills in missing notes; otherwise it continues music."""
        return self.settings.model.recurrent.direction == "bidirectional"


def new_music_model(settings: MusicSettings) -> MusicModel:
    """A model with random weights (from torch's generator)."""
    return MusicModel(settings, MusicNetwork(settings))


@dataclass(frozen=True)
class EventsModel:
    """A network of events with its settings."""

    kind: ClassVar[AnyKind] = EVENTS
    settings: EventsSettings
    network: Chain

    @property
    def vocabulary(self) -> EventVocabulary:
        return self.settings.events.vocabulary


def new_events_model(settings: EventsSettings) -> EventsModel:
    """A model with random weights (from torch's generator)."""
    return EventsModel(settings, build_language_model(settings.model, len(settings.events.vocabulary)))
