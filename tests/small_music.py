"""Small music models and pieces for tests."""

from __future__ import annotations

import numpy as np
import torch

from recitative.config import load_tree
from recitative.generation.pieces import Frames
from recitative.models.music import MusicModel, new_music_model
from recitative.models.music_settings import MusicSettings

SMALL = [
    "frames.voices=3", "frames.lowest=55", "frames.highest=66", "frames.bar=4", "model.width=8", "model.choice_width=8",
    "model.dropout=0", "model.feature_dropout=0", "model.recurrent.hidden=8", "pieces.rows=2", "pieces.bptt=4",
    "train.epochs=3", "train.warmup_steps=2", "train.checkpoint_every_steps=2", "train.threads=1", "train.device=cpu",
]  # fmt: skip


def settings(*overrides: str) -> MusicSettings:
    return load_tree(MusicSettings, None, [*SMALL, *overrides])


def model(*overrides: str, seed: int = 1) -> MusicModel:
    """In evaluation mode, with weights large enough for every input to matter."""
    torch.manual_seed(seed)
    made = new_music_model(settings(*overrides))
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    made.network.eval()
    return made


def pieces(lengths: list[int], seed: int = 0, voices: int = 3, outputs: int = 13) -> list[Frames]:
    """Random tokens, silence included."""
    rng = np.random.default_rng(seed)
    return [Frames(f"p{i}", rng.integers(0, outputs, (n, voices)), i % 12) for i, n in enumerate(lengths)]
