"""Shards in the training loops of others: every utterance once, with the samples and features that we read."""

import io
import tarfile

import numpy as np
import pytest
import soundfile
import torch
import webdataset
from numpy.testing import assert_array_equal

from recitative.audio.files import resample
from recitative.config import FeatureSettings
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.shards import write_shards
from recitative.errors import DataError
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.train.webdataset import shard_dataset

RATE = 8000
COUNT = 9


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """(folder of several shards, utt_id -> utterance)"""
    folder = tmp_path_factory.mktemp("shards")
    utterances = []
    for number in range(COUNT):
        samples = 0.3 * np.sin(np.arange(2000 + 300 * number) * (0.1 + 0.01 * number))
        soundfile.write(folder / f"{number}.wav", samples, RATE)
        path = str(folder / f"{number}.wav")
        utterances.append(Utterance(f"s{number % 2}-{number}.x", f"s{number % 2}", path, text=f"number {number}"))
    directory = DataDirectory((*sorted(utterances),))
    write_shards(directory, folder / "shards", shard_s=1.0)
    assert len(list((folder / "shards").glob("*.tar"))) == 4
    return folder / "shards", {utterance.utt_id: utterance for utterance in utterances}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_utterance_comes_once_with_its_audio(shards, workers):
    folder, utterances = shards
    loader = webdataset.WebLoader(shard_dataset(folder), batch_size=None, num_workers=workers)
    samples = list(loader)
    assert sorted(sample["utt_id"] for sample in samples) == sorted(utterances)
    for sample in samples:
        utterance = utterances[sample["utt_id"]]
        assert_array_equal(sample["audio"], read_utterance(utterance))
        assert (sample["text"], sample["speaker"], sample["sample_rate"]) == (utterance.text, utterance.speaker, RATE)


def test_patterns_and_lists_name_shards_as_in_webdataset(shards):
    folder, utterances = shards
    for named in (f"{folder}/shard-{{000000..000003}}.tar", [str(path) for path in folder.glob("*.tar")]):
        assert sorted(sample["utt_id"] for sample in shard_dataset(named)) == sorted(utterances)


def test_features_are_those_of_our_training(shards):
    folder, utterances = shards
    settings = FeatureSettings(sample_rate=RATE, num_mel_bins=12)
    for sample in shard_dataset(str(folder), features=settings):
        wanted = FeatureExtractor(settings).compute(read_utterance(utterances[sample["utt_id"]]))
        assert_array_equal(sample["features"], wanted)
        assert "audio" not in sample


def test_batches_are_padded_and_know_their_lengths(shards):
    folder, utterances = shards
    batches = list(shard_dataset(folder, batch_size=2, sample_rate=16000))
    assert sum(len(batch["utt_id"]) for batch in batches) == COUNT
    for batch in batches:
        assert batch["audio"].shape == (len(batch["text"]), batch["lengths"].max())
        for row, length, utt_id in zip(batch["audio"], batch["lengths"].tolist(), batch["utt_id"], strict=True):
            assert_array_equal(row[:length], resample(read_utterance(utterances[utt_id]), RATE, 16000))
            assert not row[length:].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_is_another_in_every_epoch_and_depends_on_the_seed(shards, workers):
    loader = webdataset.WebLoader(shard_dataset(shards[0], shuffle=100), batch_size=None, num_workers=workers)

    def epochs(seed):
        torch.manual_seed(seed)
        return [[sample["utt_id"] for sample in loader] for _ in range(3)]

    orders = epochs(1)
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(shards[1]))}
    assert len({*map(tuple, orders)}) == 3
    assert epochs(1) == orders


def test_shards_of_others_may_have_dots_in_names_and_any_order(tmp_path):
    def wav(number, channels=(1,)):
        file = io.BytesIO()
        soundfile.write(file, np.full(800 + number, 0.1)[:, None] * channels, RATE, format="WAV")
        return file.getvalue()

    members = {
        "b.1.txt": b"two  words\n", "b.2.txt": b"three", "b.1.wav": wav(1), "._b.1.wav": b"macOS", "b.2.WAV": wav(2),
        "d.json": b'{"sentence": "five", "client_id": "x"}', "c.wav": wav(3, (1, -1)), "d.wav": wav(4), "c.cls": b"7",
        "e.audio.wav": wav(5), "e.transcript.txt": b"six", "lonely.txt": b"words",
    }  # fmt: skip
    with tarfile.open(tmp_path / "others.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError, match=r"others\.tar: lonely: has no recording"):
        list(shard_dataset(tmp_path))
    errors = []
    dataset = shard_dataset(tmp_path, handler=lambda error: errors.append(error) or True)
    found = {sample["__key__"]: sample for sample in dataset}
    assert {key: (sample["num_samples"] - 800, sample["text"]) for key, sample in found.items()} == {
        "b.1": (1, "two words"), "b.2": (2, "three"), "c": (3, "7"), "d": (4, "five"), "e.audio": (5, "six"),
    }  # fmt: skip
    assert found["d"]["speaker"] == "x"
    assert min(sample["audio"].abs().max() for sample in found.values()) > 0.09  # also of channels that cancel
    assert len(errors) == 1
    streamed = shard_dataset(f"pipe:cat {tmp_path}/others.tar", handler=lambda error: True)
    assert {sample["__key__"]: sample["text"] for sample in streamed}["e"] == "six"  # by webdataset's own rules


def test_what_is_no_shard_is_named(shards, tmp_path):
    with pytest.raises(DataError, match="has no tars"):
        shard_dataset(tmp_path)
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "first", "txt": "words"})
    with pytest.raises(DataError, match=r"a\.tar: first: has no recording"):
        list(shard_dataset(tmp_path))
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "first", "txt": "words", "wav": b"RIFF, or not"})
    with pytest.raises(DataError, match=r"a\.tar: first: is not audio"):
        list(shard_dataset(tmp_path))
    assert torch.is_tensor(next(iter(shard_dataset(shards[0])))["audio"])
