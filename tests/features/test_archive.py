"""Feature archives: readable by others, whole or absent, faults named."""

import struct

import kaldiio
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from recitative.errors import DataError
from recitative.features.cmvn import write_archive


def matrices():
    rng = np.random.default_rng(0)
    return {f"spk-{i}": rng.standard_normal((n, 3)).astype(np.float32) for i, n in enumerate((4, 0, 7))}


@pytest.fixture
def written(tmp_path):
    write_archive(tmp_path / "feats.scp", tmp_path / "feats.ark", matrices().items())
    return tmp_path


def test_another_reader_of_kaldi_archives_reads_them(written):
    by_scp = kaldiio.load_scp(str(written / "feats.scp"))
    by_ark = dict(kaldiio.load_ark(str(written / "feats.ark")))
    assert list(by_scp) == list(by_ark) == list(matrices())
    for utt_id, matrix in matrices().items():
        assert by_scp[utt_id].dtype == np.float32
        assert_array_equal(by_scp[utt_id], matrix)
        assert_array_equal(by_ark[utt_id], matrix)


def test_the_bytes_are_kaldis(tmp_path):
    write_archive(tmp_path / "f.scp", tmp_path / "f.ark", [("u", np.array([[1, 2]], np.float32))])
    expected = b"u \0BFM \x04" + struct.pack("<i", 1) + b"\x04" + struct.pack("<i", 2) + struct.pack("<2f", 1, 2)
    assert (tmp_path / "f.ark").read_bytes() == expected
    assert (tmp_path / "f.scp").read_text() == f"u {tmp_path / 'f.ark'}:2\n"


def test_the_number_of_frames_is_returned(tmp_path):
    frames = write_archive(tmp_path / "f.scp", tmp_path / "f.ark", matrices().items())
    assert frames == {"spk-0": 4, "spk-1": 0, "spk-2": 7}


def test_a_failure_in_the_middle_leaves_the_old_files_and_nothing_else(written):
    before = {path.name: path.read_bytes() for path in written.iterdir()}

    def breaks():
        yield "a", np.zeros((2, 3), np.float32)
        raise DataError("utterance 'b'", "is broken")

    with pytest.raises(DataError, match="'b'"):
        write_archive(written / "feats.scp", written / "feats.ark", breaks())
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before


@pytest.mark.parametrize(("ids", "found"), [(["a", "a"], "'a' is repeated"), (["a b"], "'a b'"), ([""], "''")])
def test_ids_that_kaldi_could_not_read_are_refused(tmp_path, ids, found):
    with pytest.raises(DataError, match=found):
        write_archive(tmp_path / "f.scp", tmp_path / "f.ark", [(utt_id, np.zeros((1, 1))) for utt_id in ids])
    assert list(tmp_path.iterdir()) == []
