"""A music model in memory, run by PyTorch, as what writes music."""

from __future__ import annotations

import numpy as np
import torch

from recitative.model.torch_stage import TorchStage
from recitative.music.network import MusicModel
from recitative.music.settings import FrameSettings, MusicSettings
from recitative.stage import Array, Ids


class TorchMusic:
    """``models.composer.Scorer``: the model as it stands; in evaluation mode it has no dropout."""

    def __init__(self, model: MusicModel) -> None:
        self._model = model
        self.context = TorchStage(model.network.context)
        self.fills = model.fills

    @property
    def settings(self) -> MusicSettings:
        """Of its training."""
        return self._model.settings

    @property
    def frames(self) -> FrameSettings:
        return self.settings.frames

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs)."""
        with torch.inference_mode():
            tensors = (torch.from_numpy(np.ascontiguousarray(array)) for array in (hidden, ids, beside))
            scores: Array = self._model.network.scores(*tensors).numpy()
        return scores
