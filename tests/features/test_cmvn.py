"""CMVN statistics against NumPy's mean and variance; their files and archives of features against Kaldi's."""

import struct

import kaldiio
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from recitative.errors import DataError
from recitative.features.extraction import VARIANCE_FLOOR, CmvnStats, accumulate, encode_binary, write_archive


def utterances(seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((n, 3)) * [1, 4, 0.2] + [10, -7, 0]).astype(np.float32) for n in (5, 1, 40)]


def test_mean_and_inverse_stddev_are_those_of_all_frames():
    frames = np.concatenate(utterances()).astype(np.float64)
    stats = accumulate(utterances(), dim=3)
    assert stats.count == 46
    # the sums are float64; only the results are rounded to float32
    assert_allclose(stats.mean, frames.mean(axis=0), rtol=1e-6)
    assert_allclose(stats.inverse_stddev, 1 / frames.std(axis=0), rtol=1e-6)


def test_a_channel_that_never_changes_gets_the_floor():
    stats = CmvnStats.of(np.full((100, 2), -15.9424, np.float32))
    # the difference of two float64 squares is not exactly zero, but far below the floor
    assert_allclose(stats.inverse_stddev, VARIANCE_FLOOR**-0.5, rtol=1e-6)


def test_written_statistics_read_back_to_the_last_bit(tmp_path):
    stats = accumulate(utterances(), dim=3)
    stats.write(tmp_path / "cmvn.ark")
    back = CmvnStats.read(tmp_path / "cmvn.ark")
    assert_array_equal(back.sums, stats.sums)
    assert_array_equal(back.square_sums, stats.square_sums)
    assert back.count == stats.count
    assert [path.name for path in tmp_path.iterdir()] == ["cmvn.ark"]


def test_the_file_is_kaldis_two_rows_with_the_count_at_the_end_of_the_first(tmp_path):
    stats = CmvnStats(np.array([1.5, -2.0]), np.array([3.0, 4.25]), 7.0)
    stats.write(tmp_path / "cmvn.ark")
    assert (tmp_path / "cmvn.ark").read_text() == " [\n  1.5 -2.0 7.0\n  3.0 4.25 0.0 ]\n"
    assert_array_equal(kaldiio.load_mat(str(tmp_path / "cmvn.ark")), [[1.5, -2, 7], [3, 4.25, 0]])


def test_kaldis_binary_statistics_can_be_read(tmp_path):
    rows = np.array([[1.5, -2, 7], [3, 4.25, 0]])
    kaldiio.save_mat(str(tmp_path / "cmvn.ark"), rows)
    stats = CmvnStats.read(tmp_path / "cmvn.ark")
    assert_array_equal(stats.sums, [1.5, -2])
    assert stats.count == 7


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is not a Kaldi matrix"),
        (b"hello\n", "is not a Kaldi matrix"),
        (b"utt1  [\n 1 2\n 3 4 ]\n", "is not a Kaldi matrix"),
        (b" [\n  1 2 3\n  4 5 ]\n", "rows of unequal length"),
        (b" [\n  1 x 3\n  4 5 0 ]\n", "a matrix with words"),
        (b" [ ]\n", "a matrix of 0 by 0"),
        (b" [\n  1 2 3\n  4 5 6\n  7 8 9 ]\n", "a matrix of 3 by 3"),
        (b" [\n  0 0 0\n  0 0 0 ]\n", "CMVN statistics of 0 frames"),
        (b" [\n  nan 0 5\n  0 0 0 ]\n", "CMVN statistics of 5 frames; finite"),
        (b"\0BCM \0\0", "has a Kaldi object b'CM '"),
        (encode_binary(np.ones((2, 3)))[:-1], "the matrix ends too early"),
        (encode_binary(np.ones((2, 3)))[:9], "the matrix ends too early"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, found):
    path = tmp_path / "cmvn.ark"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        CmvnStats.read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert found in str(raised.value)


def test_a_missing_file_is_named_and_statistics_of_no_frames_have_no_mean(tmp_path):
    with pytest.raises(DataError, match=r"cmvn.ark: does not exist; .*recitative cmvn"):
        CmvnStats.read(tmp_path / "cmvn.ark")
    with pytest.raises(DataError, match="of no frames"):
        _ = CmvnStats.empty(3).mean


def matrices():
    rng = np.random.default_rng(0)
    return {f"spk-{i}": rng.standard_normal((n, 3)).astype(np.float32) for i, n in enumerate((4, 0, 7))}


@pytest.fixture
def written(tmp_path):
    frames = write_archive(tmp_path / "feats.scp", tmp_path / "feats.ark", matrices().items())
    assert frames == {"spk-0": 4, "spk-1": 0, "spk-2": 7}
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
