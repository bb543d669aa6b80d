"""Measure how far back a recurrent cell remembers, and how gradients flow through time.

    python3 local/memory.py --cell lstm --output exp/lstm/memory.json

Two tasks of the literature, at several distances:

recall  the first of T symbols is one of eight and must be named after the last; the others are noise (the latching
        task of Bengio et al. 1994). Measured: the share of 1000 new sequences with the right symbol; chance is 1/8.
adding  T pairs of a number in [0, 1] and a mark; the sum of the two marked numbers must be given after the last pair
        (Hochreiter & Schmidhuber 1997). Measured: the mean squared error; always answering 1 has 1/6.

Each network is one layer of the cell, trained by Adam with gradients clipped to norm 1. The gradient norm through time
is that of the loss with respect to the input at each step, averaged over 100 sequences, before and after training.
With --truncate K, gradients flow through at most K steps: the recall task again, where the distance stays the same.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from recitative.atomic import write_text
from recitative.config import RecurrentSettings
from recitative.nn.ragged import detach
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded
from recitative.terminal import track

HIDDEN, BATCH, TEST, LEARNING_RATE = 64, 50, 1000, 3e-3
SYMBOLS, NOISE = 8, 8

Batch = tuple[Tensor, Tensor]  # inputs (N, T, C), targets (N,)


def recall(rows: int, steps: int, generator: torch.Generator) -> Batch:
    symbols = torch.randint(SYMBOLS, SYMBOLS + NOISE, (rows, steps), generator=generator)
    symbols[:, 0] = torch.randint(SYMBOLS, (rows,), generator=generator)
    return nn.functional.one_hot(symbols, SYMBOLS + NOISE).float(), symbols[:, 0]


def adding(rows: int, steps: int, generator: torch.Generator) -> Batch:
    """One number is marked in the first half, one in the second."""
    numbers, marks, row = torch.rand(rows, steps, generator=generator), torch.zeros(rows, steps), torch.arange(rows)
    marks[row, torch.randint(steps // 2, (rows,), generator=generator)] = 1
    marks[row, torch.randint(steps // 2, steps, (rows,), generator=generator)] = 1
    return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(dim=1)


TASKS: dict[str, Callable[[int, int, torch.Generator], Batch]] = {"recall": recall, "adding": adding}


class LastOutput(nn.Module):
    """Many-to-one: the core reads a sequence, a linear layer its last output."""

    def __init__(self, cell: str, task: str) -> None:
        super().__init__()
        width, outputs = (SYMBOLS + NOISE, SYMBOLS) if task == "recall" else (2, 1)
        settings = RecurrentSettings(cell=cell, direction="forward", layers=1, hidden=HIDDEN)  # type: ignore[arg-type]
        self.core = RecurrentStack(width, settings)
        self.output = nn.Linear(HIDDEN, outputs)

    def forward(self, x: Tensor, truncate: int = 0) -> Tensor:
        """(N, T, C) -> (N, outputs). truncate: gradients flow through this many steps at most; 0 = all."""
        rows, steps, _ = x.shape
        state = self.core.initial_state(rows)
        before = steps - truncate if truncate else 0
        if before > 0:
            _, state = self.core.step(_padded(x[:, :before]), state, last=False)
            state = detach(state)
        y, _ = self.core.step(_padded(x[:, max(0, before) :]), state, last=False)
        return self.output(y.data[:, -1])


def _padded(x: Tensor) -> Padded[Tensor]:
    return Padded(x, torch.full((len(x),), x.shape[1]))


def loss_of(task: str, outputs: Tensor, targets: Tensor) -> Tensor:
    if task == "recall":
        return nn.functional.cross_entropy(outputs, targets)
    return nn.functional.mse_loss(outputs[:, 0], targets)


def trained(network: LastOutput, task: str, distance: int, steps: int, truncate: int = 0) -> LastOutput:
    """Train in place, on new sequences at every step."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    for _ in range(steps):
        x, targets = TASKS[task](BATCH, distance, generator)
        optimizer.zero_grad()
        loss_of(task, network(x, truncate), targets).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network


@torch.no_grad()
def score(network: LastOutput, task: str, distance: int) -> float:
    """Of recall the share of right symbols, of adding the mean squared error, on new sequences."""
    x, targets = TASKS[task](TEST, distance, torch.Generator().manual_seed(2))
    outputs = network(x)
    return float((outputs.argmax(1) == targets).float().mean() if task == "recall" else loss_of(task, outputs, targets))


def gradient_norms(network: LastOutput, task: str, distance: int) -> list[float]:
    """The norm of the loss's gradient with respect to the input at each step, (T,)."""
    x, targets = TASKS[task](100, distance, torch.Generator().manual_seed(3))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(task, network(x), targets), x)
    return [max(norm, math.ulp(0)) for norm in gradient.norm(dim=-1).mean(dim=0).tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", required=True, choices=("rnn_tanh", "rnn_relu", "gru", "lstm"))
    parser.add_argument("--distances", type=int, nargs="+", default=[5, 10, 20, 40, 80], help="lengths T of sequences")
    parser.add_argument("--truncate", type=int, nargs="*", default=[], help="further runs of recall, at distance 20")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    def new(task: str) -> LastOutput:
        torch.manual_seed(1)
        return LastOutput(arguments.cell, task)

    runs = [(task, distance, 0) for task in TASKS for distance in arguments.distances]
    runs += [("recall", 20, truncate) for truncate in arguments.truncate]
    longest = max(arguments.distances)
    measured, gradients = [], {"before": gradient_norms(new("adding"), "adding", longest)}
    for task, distance, truncate in track(runs, arguments.cell, len(runs)):
        network = trained(new(task), task, distance, arguments.steps, truncate)
        result = {"task": task, "distance": distance, "truncate": truncate, "score": score(network, task, distance)}
        measured.append(result)
        if (task, distance) == ("adding", longest):
            gradients["after"] = gradient_norms(network, task, distance)
    content = {"cell": arguments.cell, "steps": arguments.steps, "runs": measured, "gradients": gradients}
    write_text(arguments.output, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
