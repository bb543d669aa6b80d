"""The metadata of an ONNX file, read and replaced in its bytes: as the library onnx does it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from recitative.model.graph import Graph
from recitative.model.kind import CLAIM, CLAIMED, KEY, digest_of, metadata_of, sealed, verify_checksum, with_metadata

ENTRIES = {"first": "1", "größer": "x" * 300, "empty": "", "last": "line\n"}


def model_of(entries: dict[str, str]) -> onnx.ModelProto:
    graph = Graph()
    x = graph.input("x", "float32", ("N",))
    graph.output("y", graph.op("Add", x, graph.constant(np.arange(500, dtype=np.float32)[:1])), "float32", ("N",))
    return graph.model(entries)


def test_metadata_are_read_as_they_were_written() -> None:
    assert metadata_of(model_of(ENTRIES).SerializeToString()) == ENTRIES
    assert metadata_of(b"") == {}


def test_replaced_metadata_are_those_that_onnx_writes() -> None:
    changed = {"new": "n" * 20_000, "largest": "", "first": "2", "empty": "no more"}
    content = with_metadata(model_of(ENTRIES).SerializeToString(), changed)
    expected = model_of({})
    helper.set_model_props(
        expected, {"first": "2", "empty": "no more", "new": "n" * 20_000, "largest": "", CLAIM: CLAIMED}
    )
    body = expected.SerializeToString()
    assert content.startswith(body)
    assert metadata_of(content) == {**changed, CLAIM: CLAIMED, KEY: digest_of(content[:-64])}
    parsed = onnx.ModelProto()
    parsed.ParseFromString(content)
    onnx.checker.check_model(parsed)
    assert parsed.SerializeToString() == content
    assert verify_checksum(content, "m.onnx", "model file")


def test_the_checksum_of_a_file_is_made_anew() -> None:
    content = sealed(model_of(ENTRIES).SerializeToString())
    assert with_metadata(content, metadata_of(content)) == content
    assert with_metadata(content, ENTRIES) == content


@pytest.mark.parametrize("damage", [
    lambda content: content[:-1],
    lambda content: content[:5],
    lambda content: b"# A page\n",
    lambda content: content + b"\x72",
    lambda content: content + b"\xff" * 12,
    lambda content: content + b"\x72\x02\x0a\x09",
    lambda content: content + b"\x72\x03\x0a\x01\xff",
])  # fmt: skip
def test_what_is_no_protocol_buffer_is_a_value_error(damage: object) -> None:
    with pytest.raises(ValueError, match=r"protocol buffer|utf-8"):
        metadata_of(damage(model_of(ENTRIES).SerializeToString()))  # type: ignore[operator]
