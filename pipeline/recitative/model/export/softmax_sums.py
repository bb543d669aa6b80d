"""The running softmax of attention pooling as ONNX operations: one frame after another, in float64.

With the greatest score so far m, and u = (1, x) so that the weight and the sum of a row are one vector (Milakov &
Gimelshein 2018, "Online normalizer calculation for softmax"):

    m[t] = max(m[t - 1], a[t])        S[t] = exp(m[t - 1] - m[t]) S[t - 1] + exp(a[t] - m[t]) u[t]

An operator that goes through the frames (Scan, 6 us a frame) adds in one order, so that the sums are the same bits
however the frames are cut, and no scores are too far apart for it.
"""

from __future__ import annotations

import numpy as np

from recitative.model.export.graph import DOUBLE, TO_END, Graph
from recitative.nn.pooling import NO_SCORE

Sums = tuple[str, str, str]  # peak (N,), weight (N,), sum (N, C)


def softmax_sums(g: Graph, scores: str, x: str, inside: str, before: Sums) -> tuple[str, Sums]:
    """scores (N, T, 1), frames x (N, T, C) with padding zero, inside (N, T, 1) bool -> (N, T, C), and the sums after.

    A padded frame has no score and is (0, 0): it changes neither the peak nor the sums. All float64.
    """
    peak, weight, total = before
    start = g.op("Concat", g.op("Unsqueeze", weight, g.ints(1)), total, axis=1)  # (N, 1 + C)
    heard = g.op("Where", inside, scores, g.constant(np.array(NO_SCORE, np.float64)))
    frames = g.op("Concat", g.op("Cast", inside, to=DOUBLE), x, axis=2)  # (N, T, 1 + C)
    last_peak, last, sums = g.ops(
        "Scan", g.op("Unsqueeze", peak, g.ints(1)), start, heard, frames,
        outputs=3, body=_one_frame().body(), num_scan_inputs=2, scan_input_axes=[1, 1], scan_output_axes=[1],
    )  # fmt: skip
    weights, totals = _parts(g, sums, axis=2)
    one = g.constant(np.array(1.0, np.float64))
    y = g.op("Div", totals, g.op("Max", weights, one))  # of a frame it is at least 1: only rows of none are changed
    weight, total = _parts(g, last, axis=1)
    return y, (g.op("Squeeze", last_peak, g.ints(1)), g.op("Squeeze", weight, g.ints(1)), total)


def _one_frame() -> Graph:
    """The body: m (N, 1), S (N, 1 + C), a (N, 1), u (N, 1 + C) -> m, S, and S once more to be kept."""
    g = Graph("frame_")
    m, s = g.input("frame_m", "float64", ("N", 1)), g.input("frame_s", "float64", ("N", "U"))
    a, u = g.input("frame_a", "float64", ("N", 1)), g.input("frame_u", "float64", ("N", "U"))
    peak = g.op("Max", m, a)
    old, new = (g.op("Exp", g.op("Sub", score, peak)) for score in (m, a))
    total = g.op("Add", g.op("Mul", old, s), g.op("Mul", new, u))
    g.output("frame_peak", peak, "float64", ("N", 1))
    for name in ("frame_total", "frame_kept"):
        g.output(name, total, "float64", ("N", "U"))
    return g


def _parts(g: Graph, sums: str, axis: int) -> tuple[str, str]:
    """(..., 1 + C) -> the weight (..., 1) and the sum (..., C)."""
    weight = g.op("Slice", sums, g.ints(0), g.ints(1), g.ints(axis))
    return weight, g.op("Slice", sums, g.ints(1), g.ints(TO_END), g.ints(axis))
