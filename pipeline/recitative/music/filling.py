"""The task of filling music in: predict what is hidden from what is not, before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.music.composer import BLOCKS, hidden_blocks
from recitative.music.frames import FrameCode
from recitative.music.masked import MaskedCode
from recitative.music.network import MusicModel
from recitative.music.pieces import Frames, moved
from recitative.music.settings import MusicSettings
from recitative.stage import Ids, Mask, Padded
from recitative.train.task import Batch, Task

DEV_SEED = 2**31  # of the masks that dev pieces are scored with, the same in every run


@dataclass(frozen=True)
class Puzzle(Batch):
    """Frames side by side as tokens (N, T, V), what of them is hidden, (N,) how many there are, and the tonics (N,)."""

    frames: Ids
    hidden: Mask
    lengths: Ids
    key: Ids
    names: tuple[str, ...]


class Puzzles:
    """The batches of every epoch: each piece once, a part of at most ``bptt`` frames of it, in another key."""

    def __init__(self, pieces: Sequence[Frames], settings: MusicSettings) -> None:
        self._pieces = [piece for piece in pieces if len(piece.tokens)]
        self._settings = settings
        self._code = settings.frames.code

    @property
    def num_batches(self) -> int:
        return -(-len(self._pieces) // self._settings.pieces.rows)

    def batches(self, epoch: int, start: int) -> Iterator[Puzzle]:
        """Those of an epoch from number ``start`` on."""
        rows = self._settings.pieces.rows
        order = np.random.default_rng([self._settings.train.seed, epoch]).permutation(len(self._pieces)).tolist()
        for number in range(start, self.num_batches):
            yield self._puzzle(order[number * rows : (number + 1) * rows], epoch)

    def _puzzle(self, numbers: Sequence[int], epoch: int) -> Puzzle:
        parts = [self._drawn(number, epoch) for number in numbers]
        return puzzle_of(self._code, parts, tuple(self._pieces[i].name for i in numbers))

    def _drawn(self, number: int, epoch: int) -> tuple[Ids, Mask, int]:
        """A part of a piece that begins with a bar, what is hidden of it, and its key."""
        how, rng = self._settings.pieces, np.random.default_rng([self._settings.train.seed, epoch, number])
        tokens, tonic = moved(rng, self._pieces[number], self._code, how.transpose)
        bars = max(0, -(-(len(tokens) - how.bptt) // self._code.bar))
        first = int(rng.integers(bars + 1)) * self._code.bar
        part = tokens[first : first + how.bptt]
        return part, hidden_places(rng, *part.shape), 1 + tonic if rng.random() < how.tell_key else 0


def puzzle_of(code: FrameCode, parts: Sequence[tuple[Ids, Mask, int]], names: tuple[str, ...]) -> Puzzle:
    """Parts of unequal lengths as one batch."""
    lengths = np.array([len(tokens) for tokens, _, _ in parts])
    frames = np.full((len(parts), lengths.max(), code.voices), code.silence, np.int64)
    hidden = np.zeros(frames.shape, bool)
    for row, (tokens, mask, _) in enumerate(parts):
        frames[row, : len(tokens)], hidden[row, : len(tokens)] = tokens, mask
    return Puzzle(frames, hidden, lengths, np.array([key for _, _, key in parts]), names)


def hidden_places(rng: np.random.Generator, steps: int, voices: int) -> Mask:
    """(T, V), at least one true: blocks here and there, or whole voices, or all voices for a while, and few blocks."""
    share = rng.uniform(0.05, 1.0)
    hidden = hidden_blocks(rng, share, steps, voices, int(rng.choice(BLOCKS)))
    kind = rng.integers(4)
    if kind == 0:  # some voices, and little else
        hidden &= rng.random(hidden.shape) < 0.2
        hidden[:, rng.permutation(voices)[: rng.integers(1, voices + 1)]] = True
    elif kind == 1:  # a while
        hidden &= rng.random(hidden.shape) < 0.2
        first, last = np.sort(rng.integers(0, steps + 1, 2))
        hidden[first:last] = True
    if not hidden.any():
        hidden[rng.integers(steps), rng.integers(voices)] = True
    return hidden


class FillingTask(Task):
    """Models are chosen by the nats for a hidden pitch of the dev pieces."""

    score_unit = "nats per hidden note"

    def __init__(self, model: MusicModel, puzzles: Puzzles, dev: Sequence[Frames], device: torch.device) -> None:
        self.model, self.network, self.puzzles, self.device = model, model.network, puzzles, device
        self.dev = dev_puzzles(model, dev)

    def num_batches(self, epoch: int) -> int:
        return self.puzzles.num_batches

    def batches(self, epoch: int, start: int) -> Iterator[Puzzle]:
        return self.puzzles.batches(epoch, start)

    def loss(self, batch: Puzzle) -> tuple[Tensor, int]:
        losses = hidden_losses(self.model, batch)
        return losses.sum(), losses.numel()

    def evaluate(self) -> Mapping[str, float]:
        losses = torch.cat([hidden_losses(self.model, puzzle) for puzzle in self.dev])
        found = float(losses.mean(dtype=torch.float64))
        return {"dev_nats_per_hidden": found, "score": found}


def dev_puzzles(model: MusicModel, pieces: Sequence[Frames]) -> list[Puzzle]:
    """Every piece once, whole, with places hidden that depend on its number alone."""
    code = model.settings.frames.code
    puzzles = []
    for number, piece in enumerate(pieces):
        hidden = hidden_places(np.random.default_rng([DEV_SEED, number]), *piece.tokens.shape)
        puzzles.append(puzzle_of(code, [(piece.tokens, hidden, 0)], (piece.name,)))
    return puzzles


def hidden_losses(model: MusicModel, puzzle: Puzzle) -> Tensor:
    """-ln P of each hidden pitch given all that are not, (number of them,)."""
    code, device = MaskedCode(model.settings.frames.code), next(model.network.parameters()).device
    seen = np.where(puzzle.hidden, code.code.hidden, puzzle.frames)
    ids = torch.from_numpy(code.context_ids(seen, puzzle.key)).to(device)
    network = model.network
    lengths = torch.from_numpy(puzzle.lengths).to(device)
    h, _ = network.context.step(Padded(ids, lengths), network.initial_state(puzzle.rows), last=True)
    losses = []
    for voice in range(code.code.voices):
        row, step = np.nonzero(puzzle.hidden[..., voice])
        choice, beside = (torch.from_numpy(entry[row, step]).to(device) for entry in code.choice_ids(seen, voice))
        scores = network.scores(
            h.data[torch.from_numpy(row).to(device), torch.from_numpy(step).to(device)], choice, beside
        )
        target = torch.from_numpy(puzzle.frames[row, step, voice]).to(device)
        losses.append(F.cross_entropy(scores, target, reduction="none"))
    return torch.cat(losses)
