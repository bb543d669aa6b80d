"""Many sounds drawn side by side, those of about the same length together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from recitative.audio.recording import Samples
from recitative.sound.onnx import SoundGenerator

ROWS = 16  # drawn together: the weights are read once for all of them


def draw_all(
    generator: SoundGenerator,
    lengths: Sequence[int],
    told: Callable[[int], tuple[Samples, int] | None],
    *,
    seed: int = 1,
    temperature: float = 1.0,
    on_progress: Callable[[float, int], None] | None = None,
) -> Iterator[tuple[int, Samples]]:
    """The number of each sound and its samples (S,), the shortest first; no more than ``ROWS`` are in memory.

    lengths: about how many samples each will have; told: for a number the frames (T, C) that the model is told and how
    many samples to draw, or None to leave it out. Each is drawn with the random numbers of its own number.
    on_progress: samples drawn, of how many.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    total, done = sum(lengths), 0
    for start in range(0, len(order), ROWS):
        numbers = order[start : start + ROWS]
        here, group_total = done, sum(lengths[i] for i in numbers)

        def show(share: float, here: int = here, group_total: int = group_total) -> None:
            if on_progress:
                on_progress(here + group_total * share, total)

        group = {i: found for i in numbers if (found := told(i)) is not None}
        if group:
            yield from _together(generator, group, seed, temperature, show)
        done += group_total


def _together(
    generator: SoundGenerator,
    group: Mapping[int, tuple[Samples, int]],
    seed: int,
    temperature: float,
    show: Callable[[float], None],
) -> Iterator[tuple[int, Samples]]:
    longest = max(count for _, count in group.values())
    frames = [frames for frames, _ in group.values()]
    blocks: list[Samples] = []
    for block in generator.generate(
        longest, frames=frames, row_numbers=list(group), seed=seed, temperature=temperature
    ):
        blocks.append(block)
        show(min(1.0, len(blocks) * generator.metadata.settings.sound.step / longest))
    for row, (number, (_, count)) in enumerate(group.items()):
        yield number, np.concatenate([block[row] for block in blocks])[:count]
