"""Shards: what is written, that it is always the same, and that nothing else is ever read back."""

import dataclasses
import io
import json
import multiprocessing
import os
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from numpy.testing import assert_array_equal

from recitative.audio.containers import with_ogg_serial
from recitative.audio.files import inspect, read_audio, write_wav
from recitative.audio.recording import AudioSlice
from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data import shards
from recitative.data.check import check_directory
from recitative.data.directory import DataDirectory, read_speakers, read_transcripts
from recitative.data.parallel import Engine
from recitative.data.shards import Shard, ShardEntry, ShardIndex, is_shards, verify_shards, write_index, write_shards
from recitative.data.tables import Utterance
from recitative.errors import DataError, UsageError

RATE = 8000
COUNT = 17


def sound(number, seconds=0.5):
    t = np.arange(int(seconds * RATE) + 10 * number) / RATE
    return (0.4 * np.sin(2 * np.pi * (200 + 20 * number) * t)).astype(np.float32)


@pytest.fixture
def directory(tmp_path):
    """Seventeen recordings as wav, flac and Opus; ids with dots, blanks in texts, signs beyond ASCII."""
    utterances = []
    for number in range(COUNT):
        utt_id = f"s{number % 3}-{number:02d}.{'é' if number == 4 else 'a'}"
        suffix = ("wav", "flac", "ogg")[number % 3]
        path = tmp_path / "audio" / f"{number}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        subtype = "OPUS" if suffix == "ogg" else "PCM_16"
        soundfile.write(path, sound(number), RATE, subtype=subtype, format="OGG" if suffix == "ogg" else None)
        utterances.append(Utterance(utt_id, f"s{number % 3}", str(path), text=f"número {number}"))
    made = DataDirectory(tuple(sorted(utterances)))
    made.write(tmp_path / "data")
    return DataDirectory.read(tmp_path / "data")


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_give_the_utterances_of_the_directory(tmp_path, directory):
    summary = write_shards(directory, tmp_path / "shards", shard_s=2.0)
    assert (summary.shards, summary.utterances, summary.made) == (4, COUNT, 4)
    read = DataDirectory.read(tmp_path / "shards")
    assert len(read.utterances) == COUNT
    for ours, theirs in zip(read.utterances, directory.utterances, strict=True):
        assert (ours.utt_id, ours.speaker, ours.text) == (theirs.utt_id, theirs.speaker, theirs.text)
        samples, rate = read_audio(ours.recording_path)
        expected, expected_rate = read_audio(theirs.recording_path)
        assert rate == expected_rate
        assert_array_equal(samples, expected)
    assert read.texts == directory.texts
    assert read.utterances[-1] == read.utterances[COUNT - 1]
    assert read.utterances[2:4] == (read.utterances[2], read.utterances[3])
    with pytest.raises(IndexError):
        read.utterances[COUNT]


def test_the_index_tells_the_lengths_without_opening_a_shard(tmp_path, directory):
    write_shards(directory, tmp_path / "shards", shard_s=2.0)
    index = ShardIndex.open(tmp_path / "shards")
    assert index.num_samples.tolist() == [inspect(u.recording_path).num_samples for u in directory.utterances]
    assert set(index.sample_rates.tolist()) == {RATE}


def test_words_and_speakers_are_those_of_the_directory(tmp_path, directory):
    write_shards(directory, tmp_path / "shards", shard_s=2.0)
    words = [
        {row.key: row.value for row in read_transcripts(path)}
        for path in (tmp_path / "shards", tmp_path / "data", tmp_path / "data" / "text")
    ]
    assert words == [directory.texts] * 3
    assert read_speakers(tmp_path / "shards") == read_speakers(tmp_path / "data") == directory.utt2spk


def test_shards_without_transcripts_have_no_words(tmp_path, directory):
    silent = DataDirectory(tuple(dataclasses.replace(u, text=None) for u in directory.utterances))
    write_shards(silent, tmp_path / "shards")
    with pytest.raises(DataError, match="has no transcripts; shards of a transcribed corpus"):
        read_transcripts(tmp_path / "shards")


def test_webdataset_reads_the_shards(tmp_path, directory):
    write_shards(directory, tmp_path / "shards", shard_s=4.0)
    urls = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    facts = [json.loads(sample["json"]) for sample in samples]
    by_id = {u.utt_id: u for u in directory.utterances}
    assert sorted(fact["utt_id"] for fact in facts) == sorted(by_id)
    for sample, fact in zip(samples, facts, strict=True):
        suffix = next(name for name in ("flac", "ogg") if name in sample)
        decoded, rate = soundfile.read(io.BytesIO(sample[suffix]))
        assert (len(decoded), rate) == (fact["num_samples"], fact["sample_rate"])
        assert sample["txt"].decode() == by_id[fact["utt_id"]].text


def test_compressed_recordings_are_kept_as_they_are_and_others_become_flac(tmp_path, directory):
    write_shards(directory, tmp_path / "shards")
    for ours, theirs in zip(DataDirectory.read(tmp_path / "shards").utterances, directory.utterances, strict=True):
        content = AudioSlice.parse(ours.recording_path).read()
        source = Path(theirs.recording_path).read_bytes()
        assert content[:4] in (b"fLaC", b"OggS")
        assert theirs.recording_path.endswith(".wav") or content == source


def test_segments_are_cut_out(tmp_path):
    write_wav(tmp_path / "long.wav", sound(0, 3.0), RATE)
    parts = tuple(Utterance(f"s-{i}", "s", str(tmp_path / "long.wav"), i, i + 1.0, "a", "long") for i in range(3))
    DataDirectory(parts).write(tmp_path / "data")
    write_shards(DataDirectory.read(tmp_path / "data"), tmp_path / "shards")
    read = [read_audio(u.recording_path)[0] for u in DataDirectory.read(tmp_path / "shards").utterances]
    assert_array_equal(np.concatenate(read), read_audio(tmp_path / "long.wav")[0])


def test_more_than_sixteen_bits_stay(tmp_path):
    samples = sound(1) * np.float32(1e-4)
    soundfile.write(tmp_path / "quiet.wav", samples, RATE, subtype="PCM_24")
    DataDirectory((Utterance("s-1", "s", str(tmp_path / "quiet.wav")),)).write(tmp_path / "data")
    write_shards(DataDirectory.read(tmp_path / "data"), tmp_path / "shards")
    only = DataDirectory.read(tmp_path / "shards").utterances[0]
    assert only.text is None
    assert_array_equal(read_audio(only.recording_path)[0], read_audio(tmp_path / "quiet.wav")[0])


@pytest.mark.parametrize("format", ["keep", "flac", "opus"])
def test_the_bytes_are_always_the_same(tmp_path, directory, format):
    write_shards(directory, tmp_path / "a", format=format, shard_s=2.0)
    write_shards(directory, tmp_path / "b", format=format, shard_s=2.0, engine=Engine(jobs=2))
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_done_again_nothing_is_written(tmp_path, directory):
    write_shards(directory, tmp_path / "shards", shard_s=2.0)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    assert write_shards(directory, tmp_path / "shards", shard_s=2.0).made == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()} == times


def test_other_data_makes_other_shards_and_leaves_none_of_the_old(tmp_path, directory):
    write_shards(directory, tmp_path / "shards", shard_s=1.0)
    fewer = directory.with_utterances(directory.utterances[:5])
    write_shards(fewer, tmp_path / "shards", shard_s=2.0)
    write_shards(fewer, tmp_path / "anew", shard_s=2.0)
    assert bytes_of(tmp_path / "shards") == bytes_of(tmp_path / "anew")


def slow_run(data, folder):
    def slowly(path):
        time.sleep(0.05)
        return inspect(path)

    shards.inspect = slowly
    write_shards(DataDirectory.read(data), folder, shard_s=2.0)


def test_killed_and_started_again_it_ends_in_the_same_bytes(tmp_path, directory):
    write_shards(directory, tmp_path / "undisturbed", shard_s=2.0)
    folder = tmp_path / "killed"
    process = multiprocessing.get_context("spawn").Process(target=slow_run, args=(tmp_path / "data", folder))
    process.start()
    while len(list(folder.glob("parts/*.json"))) < 2:  # in the middle of the third shard
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not is_shards(folder)
    first = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tar")}
    assert write_shards(directory, folder, shard_s=2.0).made == 4 - len(first)
    assert {name: (folder / name).stat().st_mtime_ns for name in first} == first
    for path in folder.glob(".*.partial"):  # what the killed process was writing
        path.unlink()
    assert bytes_of(folder) == bytes_of(tmp_path / "undisturbed")


def test_all_recordings_that_cannot_be_read_are_named_and_no_index_is_written(tmp_path, directory):
    for number in (3, 8):
        (tmp_path / "audio" / f"{number}.{('wav', 'flac', 'ogg')[number % 3]}").write_bytes(b"noise")
    with pytest.raises(DataError, match="is not audio") as caught:
        write_shards(directory, tmp_path / "shards", shard_s=2.0)
    assert len(caught.value.problems) == 2
    assert not is_shards(tmp_path / "shards")


def test_an_id_too_long_for_a_tar_is_refused(tmp_path):
    write_wav(tmp_path / "a.wav", sound(1), RATE)
    DataDirectory((Utterance("s" * 120, "s", str(tmp_path / "a.wav"), text="a"),)).write(tmp_path / "data")
    with pytest.raises(DataError, match="has too long an id; 95 bytes at most"):
        write_shards(DataDirectory.read(tmp_path / "data"), tmp_path / "shards")


def test_opus_at_a_rate_that_it_lacks_is_refused(tmp_path):
    write_wav(tmp_path / "a.wav", sound(1), 22050)
    DataDirectory((Utterance("s-1", "s", str(tmp_path / "a.wav"), text="a"),)).write(tmp_path / "data")
    with pytest.raises(DataError, match="22050 Hz, which Opus lacks"):
        write_shards(DataDirectory.read(tmp_path / "data"), tmp_path / "shards", format="opus")


class TestDamage:
    @pytest.fixture
    def shards(self, tmp_path, directory):
        write_shards(directory, tmp_path / "shards", shard_s=2.0)
        return tmp_path / "shards"

    def test_missing_shards_and_others_of_another_size_are_all_named(self, shards):
        (shards / "shard-000001.tar").unlink()
        with (shards / "shard-000003.tar").open("ab") as file:
            file.write(b"more")
        with pytest.raises(DataError, match=r"shard-000001.tar: does not exist.*and 1 more") as caught:
            DataDirectory.read(shards)
        assert "as when the index was made" in str(caught.value.problems[1])

    def test_a_shard_that_changed_since_is_named_when_it_is_read(self, shards):
        path = shards / "shard-000002.tar"
        utterance = next(u for u in DataDirectory.read(shards).utterances if path.name in u.recording_path)
        content = bytearray(path.read_bytes())
        content[AudioSlice.parse(utterance.recording_path).offset + 40] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"shard-000002.tar: its \d+ bytes from \d+ on are not those"):
            read_audio(utterance.recording_path)
        problems = list(verify_shards(shards))
        assert [problem.where for problem in problems] == [str(path)]
        assert "another SHA-256" in problems[0].found

    def test_a_shard_that_is_gone_while_it_is_used_is_named(self, shards):
        location = DataDirectory.read(shards).utterances[0].recording_path
        for path in shards.glob("*.tar"):
            path.unlink()
        with pytest.raises(DataError, match=r"tar: does not exist; the shard that the index names"):
            inspect(location)

    def test_a_damaged_index_is_named(self, shards):
        (shards / "index.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
        with pytest.raises(DataError, match="is not an index of shards, or is damaged"):
            DataDirectory.read(shards)

    @pytest.mark.parametrize("damage", ["index.safetensors", "shard-000001.tar"])
    def test_writing_them_again_mends_them(self, shards, directory, damage):
        whole = bytes_of(shards)
        (shards / damage).write_bytes(b"damaged")
        write_shards(directory, shards, shard_s=2.0)
        assert bytes_of(shards) == whole

    def test_check_reads_every_recording_of_the_shards(self, shards):
        features = FeatureSettings(sample_rate=RATE)
        assert check_directory(shards, features, FrontEndSettings()).problems == ()
        path = shards / "shard-000000.tar"
        with tarfile.open(path) as tar:
            member = next(m for m in tar if m.name.endswith((".flac", ".ogg")))
        content = bytearray(path.read_bytes())
        content[member.offset_data + 50] ^= 255
        path.write_bytes(content)
        problems = check_directory(shards, features, FrontEndSettings()).problems
        assert len(problems) == 1
        assert "are not those that were indexed" in str(problems[0])

    def test_shards_are_not_mended(self, shards):
        from recitative.cli.data import check

        with pytest.raises(UsageError, match="shards cannot be fixed"):
            check(shards, fix=True, overrides=None, conf=None, tokens=None, lexicon=None, subsampling=None)


def test_the_serial_number_of_ogg_is_changed_and_nothing_else(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, sound(3, 2.0), RATE, format="OGG", subtype="OPUS")
    changed = with_ogg_serial(file.getvalue(), 77)
    assert with_ogg_serial(changed, 99) == with_ogg_serial(file.getvalue(), 99)
    before, after = (soundfile.read(io.BytesIO(content))[0] for content in (file.getvalue(), changed))
    assert_array_equal(before, after)  # libogg checks each page's CRC, and skips pages where it is wrong
    original = int.from_bytes(file.getvalue()[14:18], "little")
    assert with_ogg_serial(changed, original) == file.getvalue()


def test_a_large_index_is_opened_without_being_read(tmp_path):
    entries = [ShardEntry(f"s-{i:06d}", "s", "a few words", 0, 512 * i, 100, 7, 16000, 16000) for i in range(2000)]
    (tmp_path / "shard-000000.tar").write_bytes(b"")
    write_index(tmp_path, entries, [Shard("shard-000000.tar", 0, "")], transcribed=True, fingerprint="f")
    index = ShardIndex.open(tmp_path)
    assert isinstance(index.num_samples, np.memmap)
    assert index[1234].utt_id == "s-001234"
    assert AudioSlice.parse(index[1234].recording_path).offset == 512 * 1234
    with pytest.raises(ValueError, match="read-only"):
        index.num_samples[0] = 1
