"""Rows of unequal lengths in a graph, joined and cut, beside what NumPy does with each row alone."""

import numpy as np
import pytest

from recitative.model.graph import Graph, Ragged
from recitative.model.onnx_stage import open_session


def run(graph, outputs, feeds):
    for name, value in outputs.items():
        graph.output(name, value, *(("int64", ("N",)) if name == "lengths" else ("float32", ("N", "T", 2))))
    session = open_session(graph.model({}).SerializeToString(), "the graph", "graph", threads=1)
    return session.run(list(outputs), feeds)


def ragged(graph, name):
    return Ragged(graph.input(name, "float32", ("N", f"T_{name}", 2)), graph.input(f"{name}_lengths", "int64", ("N",)))


def batch(name, rng, frames, lengths):
    """Feeds of one input whose padding is unlike any frame."""
    data = rng.standard_normal((len(lengths), frames, 2)).astype(np.float32)
    for row, length in zip(data, lengths, strict=True):
        row[length:] = 999
    return {name: data, f"{name}_lengths": np.array(lengths, np.int64)}


@pytest.mark.parametrize(("before", "after"), [
    ((2, [2, 1, 0, 2]), (5, [5, 0, 3, 1])),
    ((2, [2]), (1, [1])),
    ((3, [0, 0]), (1, [0, 1])),
    ((0, [0, 0]), (4, [4, 2])),
])  # fmt: skip
def test_each_row_is_followed_at_once_by_its_own_next_frames(before, after):
    graph, rng = Graph(), np.random.default_rng(0)
    joined = graph.join(ragged(graph, "a"), ragged(graph, "b"))
    feeds = batch("a", rng, *before) | batch("b", rng, *after)
    data, lengths = run(graph, {"data": joined.data, "lengths": joined.lengths}, feeds)
    assert lengths.tolist() == [a + b for a, b in zip(before[1], after[1], strict=True)]
    for row, (a, b) in enumerate(zip(before[1], after[1], strict=True)):
        expected = np.concatenate([feeds["a"][row, :a], feeds["b"][row, :b]])
        np.testing.assert_array_equal(data[row, : a + b], expected)


def test_a_cut_is_each_row_from_its_start_to_the_end_also_of_nothing():
    graph, rng = Graph(), np.random.default_rng(0)
    x = ragged(graph, "a")
    cut = graph.cut(x, graph.input("start", "int64", ("N",)), x.lengths, 3)
    starts, lengths = [0, 2, 4, 5, 3], [5, 5, 5, 5, 4]  # the fourth begins where the data end
    feeds = batch("a", rng, 5, lengths) | {"start": np.array(starts, np.int64)}
    (data,) = run(graph, {"data": cut.data}, feeds)
    assert data.shape == (5, 3, 2)
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        inside = min(length - start, 3)
        np.testing.assert_array_equal(data[row, :inside], feeds["a"][row, start : start + inside])
