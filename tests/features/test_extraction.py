"""The features of a data directory: in order, by any number of processes, every fault named, nothing half-written."""

import re

import kaldiio
import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal

from command_line import run
from recitative.config import FeatureSettings
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.parallel import Engine
from recitative.errors import DataError
from recitative.features.extraction import CmvnStats, accumulate, extract, utterance_features, write_features
from recitative.features.frontend import FeatureExtractor

SETTINGS = FeatureSettings(sample_rate=8000, num_mel_bins=5)
OVERRIDES = ["features.sample_rate=8000", "features.num_mel_bins=5"]


@pytest.fixture
def data(tmp_path):
    """Three utterances: two are segments of one recording."""
    samples = np.random.default_rng(0).standard_normal(4000) * 0.1
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000)
    paths = [str(tmp_path / "one.wav"), str(tmp_path / "two.wav")]
    utterances = (
        Utterance("a-1", "a", paths[0], 0.0, 0.25, "yes", "one"),
        Utterance("a-2", "a", paths[0], 0.25, 0.5, "no", "one"),
        Utterance("b-1", "b", paths[1], 0.1, 0.4, "yes", "two"),
    )
    DataDirectory(utterances).write(tmp_path / "data")
    return tmp_path


def test_segments_are_cut_before_the_features(data):
    directory = DataDirectory.read(data / "data")
    samples, _ = soundfile.read(data / "one.wav", dtype="float32")
    expected = FeatureExtractor(SETTINGS).compute(samples[2000:4000])
    assert_array_equal(utterance_features(directory.utterances[1], SETTINGS), expected)


def test_two_processes_give_what_one_gives(data):
    directory = DataDirectory.read(data / "data")
    alone, together = (list(extract(directory, SETTINGS, Engine(jobs=jobs))) for jobs in (1, 2))
    assert [utt_id for utt_id, _ in together] == ["a-1", "a-2", "b-1"]
    for (_, expected), (_, found) in zip(alone, together, strict=True):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_fault_is_named_and_nothing_is_written(data, jobs):
    (data / "one.wav").write_bytes(b"")
    soundfile.write(data / "two.wav", np.zeros(16000), 16000)
    directory = DataDirectory.read(data / "data")
    before = sorted(path.name for path in (data / "data").iterdir())
    with pytest.raises(DataError) as raised:
        write_features(data / "data", data / "feats", extract(directory, SETTINGS, Engine(jobs=jobs)))
    found = "\n".join(str(problem) for problem in raised.value.problems)
    assert re.search(r"utterance 'a-1': .*one\.wav: is empty", found)
    assert re.search(r"utterance 'a-2': .*one\.wav: is empty", found)
    assert re.search(r"utterance 'b-1': .*two\.wav: 16000 Hz; 8000 Hz \(features\.sample_rate\)", found)
    assert not (data / "feats").exists()
    assert sorted(path.name for path in (data / "data").iterdir()) == before


def test_an_utterance_shorter_than_a_frame_is_named(data):
    utterance = Utterance("a-1", "a", str(data / "one.wav"), 0.0, 0.02)
    with pytest.raises(DataError, match=r"utterance 'a-1': .*: 20 ms is less than one frame; 25 ms or more"):
        utterance_features(utterance, SETTINGS)


def test_the_features_command_writes_what_kaldi_reads_and_does_so_again(data):
    command = ("features", data / "data", data / "feats", *OVERRIDES, "--jobs", 1)
    assert run(*command).out == f"{data / 'feats' / 'feats.scp'}: 3 utterances, 74 frames, 5 channels\n"
    content = {path.name: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    run(*command)
    assert {path.name: path.read_bytes() for path in data.rglob("*") if path.is_file()} == content
    assert (data / "data" / "utt2num_frames").read_text() == "a-1 23\na-2 23\nb-1 28\n"
    expected = dict(extract(DataDirectory.read(data / "data"), SETTINGS))
    read = kaldiio.load_scp(str(data / "data" / "feats.scp"))
    assert set(read) == set(expected)
    for utt_id, matrix in expected.items():
        assert_array_equal(read[utt_id], matrix)


def test_the_cmvn_command_writes_the_statistics_of_the_features(data):
    path = data / "cmvn.ark"
    done = run("cmvn", data / "data", *OVERRIDES, "--output", path, "--jobs", 1)
    assert done.out == f"{path}: 74 frames of 3 utterances, 5 channels\n"
    write_features(data / "data", data / "f", extract(DataDirectory.read(data / "data"), SETTINGS))
    expected = accumulate((matrix for matrix in kaldiio.load_scp(str(data / "f" / "feats.scp")).values()), dim=5)
    assert_array_equal(CmvnStats.read(path).sums, expected.sums)
