"""Small music models and pieces for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from recitative.config import load_tree
from recitative.music.composer import Frames
from recitative.music.generation import ChordRule, chord_rules
from recitative.music.piece import SILENT
from recitative.music.settings import FrameSettings, MusicSettings
from recitative.music.task import MusicModel, new_music_model
from recitative.stage import Padded

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


class Silent:
    """A stage that has heard nothing: ids (N, T, F) -> (N, T, 1) of zeros."""

    stride, lookahead = 1, 0

    def output_lengths(self, lengths):
        return lengths

    def initial_state(self, n):
        return {}

    def step(self, x, state, *, last):
        return Padded(np.zeros((*x.data.shape[:2], 1), np.float32), x.lengths), {}


@dataclass(frozen=True)
class Constant:
    """A ``Scorer`` that gives the same scores (outputs,) to every decision."""

    frames: FrameSettings
    values: np.ndarray
    fills: bool = False

    @property
    def context(self):
        return Silent()

    def scores(self, hidden, ids, beside):
        return np.tile(self.values.astype(np.float32), (len(hidden), 1))


def is_authentic(pitches: np.ndarray, key: tuple[int, bool]) -> bool:
    """Whether a piece ends with V or V7 and then I, complete up to the fifth and in root position. pitches: (T, V).

    In minor, the last chord may be major.
    """
    sounding = [frame for frame in pitches.tolist() if any(pitch != SILENT for pitch in frame)]
    while len(sounding) > 1 and sounding[-2] == sounding[-1]:
        sounding.pop()
    if len(sounding) < 2:
        return False
    dominant, tonic = chord_rules(key)
    _, major = chord_rules((key[0], False))
    return _is_chord(sounding[-2], dominant) and (_is_chord(sounding[-1], tonic) or _is_chord(sounding[-1], major))


def _is_chord(frame: list[int], rule: ChordRule) -> bool:
    pitches = [pitch for pitch in frame if pitch != SILENT]
    classes = {pitch % 12 for pitch in pitches}
    return min(pitches) % 12 == rule.bass and rule.needed <= classes <= rule.notes
