"""A model folder whose files are not what was written is refused, until somebody says that the change is meant."""

from __future__ import annotations

import hashlib
from functools import partial

import pytest
import tiny

from every_kind import make
from recitative.asr.kind import RECOGNIZER
from recitative.errors import DataError
from recitative.kinds import KINDS
from recitative.model.folder import CHECKSUMS, load_model, save_model, verify_checksums

EVERY = {
    **{kind.name: (partial(make, kind.name), save_model, partial(load_model, kind=kind)) for kind in KINDS},
}


@pytest.mark.parametrize("kind", EVERY)
def test_one_flipped_bit_in_any_file_of_a_folder_is_told(tmp_path, kind):
    make, save, load = EVERY[kind]
    folder = tmp_path / "model"
    save(make(), folder)
    files = sorted(folder.iterdir())
    assert len(files) >= 3
    for file in files:
        content = file.read_bytes()
        for at in (len(content) // 3, len(content) - 2):
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(DataError) as caught:
                load(folder)
            assert "\n" not in str(caught.value)
            assert file.name in str(caught.value)
        file.write_bytes(content)
    load(folder)
    save(load(folder), folder)  # what is written again is known again
    load(folder)


@pytest.fixture
def folder(tmp_path):
    save_model(tiny.recognizer(), tmp_path / "model")
    return tmp_path / "model"


def test_the_list_is_that_of_sha256sum(folder):
    expected = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}"
        for name in ("settings.yaml", "tokens.txt", "weights.safetensors")
    ]
    assert (folder / CHECKSUMS).read_text().splitlines() == expected


def test_a_change_by_hand_is_kept_by_removing_the_list(folder):
    settings = folder / "settings.yaml"
    settings.write_text(settings.read_text() + "\n# beam: see the report\n")
    with pytest.raises(DataError) as caught:
        load_model(folder, RECOGNIZER)
    assert str(caught.value) == (
        f"{settings}: is damaged, or was changed by hand: its checksum is not that in SHA256SUMS; "
        f"copy the folder again; to keep a change of your own, remove {folder / CHECKSUMS}"
    )
    (folder / CHECKSUMS).unlink()  # folders of older versions have none
    load_model(folder, RECOGNIZER)


@pytest.mark.parametrize(("content", "found"), [
    (b"\xff", r"SHA256SUMS: cannot be read"),
    (b"abc\n", r"SHA256SUMS:1: is no checksum of a file"),
    (b"abc  ../x\n", r"SHA256SUMS:1: is no checksum of a file"),
    (b"abc  lm.arpa\n", r"lm\.arpa: is missing, and SHA256SUMS lists it"),
])  # fmt: skip
def test_a_list_that_cannot_be_used_is_named(folder, content, found):
    (folder / CHECKSUMS).write_bytes(content)
    with pytest.raises(DataError, match=found):
        verify_checksums(folder)
