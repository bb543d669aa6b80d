"""A model of frames of music: features of what was read, the recurrent core, and the choice of each voice; its folder.

weights.safetensors   every parameter by name
settings.yaml         the resolved settings of the run

Nothing is unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from recitative.config import dump_settings
from recitative.models.music_settings import MusicSettings
from recitative.models.weights import (
    SETTINGS,
    WEIGHTS,
    load_kind,
    load_weights,
    require_files,
    save_weights,
    writing_model,
)
from recitative.music.frames import FrameCode
from recitative.music.masked import MaskedCode
from recitative.nn.chain import Chain
from recitative.nn.choice import ChoiceHead
from recitative.nn.embedding import EmbeddedFeatures
from recitative.nn.framewise import Dropout
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import State

REMEDY = "make one with 'recitative music train'"


class MusicNetwork(nn.Module):
    """``context`` reads frames as a stage, ids (N, T, F) -> (N, T, H); ``choice`` scores what each voice may do.

    A forward core reads the frames before (``music.frames``), a bidirectional one all that is given (``music.masked``).
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
        self.choice = ChoiceHead(
            core.output_width,
            model.choice_width,
            sum(reads.choice_sizes),
            code.pitches,
            reads.beside,
            model.dropout,
            model.feature_dropout,
        )

    def initial_state(self, n: int) -> State:
        """Of the part that remembers."""
        return self.context.initial_state(n)

    def scores(self, h: Tensor, ids: Tensor, beside: Tensor) -> Tensor:
        """See ``ChoiceHead``."""
        scores: Tensor = self.choice(h, ids, beside)
        return scores


@dataclass(frozen=True)
class MusicModel:
    """A network with the settings that say what it reads."""

    settings: MusicSettings
    network: MusicNetwork

    @property
    def fills(self) -> bool:
        """Whether it fills in what is missing; else it continues what is there."""
        return self.settings.model.recurrent.direction == "bidirectional"


def new_music_model(settings: MusicSettings) -> MusicModel:
    """A model with random weights (from torch's generator)."""
    return MusicModel(settings, MusicNetwork(settings))


def save_music_model(model: MusicModel, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    with writing_model(folder) as partial:
        save_weights(model.network, partial)
        (partial / SETTINGS).write_text(dump_settings(model.settings), encoding="utf-8")


def load_music_model(folder: Path) -> MusicModel:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole music model."""
    require_files(folder, "a music model's folder", REMEDY, (WEIGHTS, SETTINGS))
    model = new_music_model(load_kind(MusicSettings, folder / SETTINGS, "is not a music model's", REMEDY))
    load_weights(model.network, folder, REMEDY)
    return model
