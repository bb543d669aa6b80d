"""Many sounds drawn side by side, those of about the same length together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from recitative.runtime.sound import SoundGenerator

Samples = npt.NDArray[np.float32]

ROWS = 16  # drawn together: the weights are read once for all of them


def draw_all(
    generator: SoundGenerator,
    frames: Sequence[Samples],
    lengths: Sequence[int],
    *,
    seed: int = 1,
    temperature: float = 1.0,
    on_progress: Callable[[float, int], None] | None = None,
) -> list[Samples]:
    """(S,) samples for each of the ``frames`` (T, C) that the model is told, of the given lengths.

    Each is drawn with the random numbers of its own place in the list. on_progress: samples drawn, of how many.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    drawn: dict[int, Samples] = {}
    total, done = sum(lengths), 0
    for start in range(0, len(order), ROWS):
        group = order[start : start + ROWS]
        longest, group_total = lengths[group[-1]], sum(lengths[i] for i in group)
        blocks: list[Samples] = []
        for block in generator.generate(
            longest, frames=[frames[i] for i in group], row_numbers=group, seed=seed, temperature=temperature
        ):
            blocks.append(block)
            if on_progress:
                on_progress(done + group_total * len(blocks) * generator.card.settings.sound.step / longest, total)
        samples = np.concatenate(blocks, axis=1)
        drawn |= {i: samples[row, : lengths[i]] for row, i in enumerate(group)}
        done += group_total
    return [drawn[i] for i in range(len(lengths))]
