"""A model file with a flipped bit is refused in one line; it never gives another result."""

from __future__ import annotations

import random

import pytest
from amounts import amount

import every_kind
from recitative import pretrained
from recitative.errors import DataError
from recitative.kinds import load
from recitative.model.export import export_model

FLIPS = amount(4, 100)  # in each file


def flipped(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


@pytest.mark.timeout(amount(300, 3600))
@pytest.mark.parametrize("kind", every_kind.MAKE)
def test_a_flipped_bit_in_an_exported_file_is_told(tmp_path, kind):
    path, rng = tmp_path / "model.onnx", random.Random(kind)
    export_model(every_kind.make(kind), path)
    load(path)
    whole = path.read_bytes()
    for _ in range(FLIPS):
        path.write_bytes(flipped(whole, rng))
        with pytest.raises(DataError) as caught:
            load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.timeout(amount(300, 3600))
def test_a_flipped_bit_in_a_model_that_ships_is_told(tmp_path, monkeypatch):
    whole, rng = pretrained.find("en-g2p").read_bytes(), random.Random(1)
    path = tmp_path / "en-g2p.onnx.gz"
    for _ in range(FLIPS):
        path.write_bytes(flipped(whole, rng))
        with pytest.raises(DataError) as caught:
            load(path)
        assert "\n" not in str(caught.value)
