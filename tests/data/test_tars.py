"""Tars of other programs: samples are found for any names and order, and used for training like other data."""

import errno
import gzip
import io
import json
import re
import tarfile

import numpy as np
import pytest
import soundfile
import webdataset
from numpy.testing import assert_allclose

from command_line import run
from recitative.audio.files import read_audio
from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data import manifests
from recitative.data.check import check_directory
from recitative.data.directory import DataDirectory, read_transcripts
from recitative.data.importing import ImportOptions, import_corpus, read_source
from recitative.data.shards import INDEX, is_shards, verify_shards, write_shards
from recitative.errors import DataError

RATE = 8000


def sound(number, seconds=0.4):
    return (0.4 * np.sin(np.arange(int(seconds * RATE)) * (0.1 + 0.02 * number))).astype(np.float32)


def encoded(number, form="WAV", rate=RATE, channels=1):
    file = io.BytesIO()
    samples = np.repeat(sound(number)[:, None], channels, axis=1)
    soundfile.write(file, samples, rate, format=form, subtype={"MP3": None, "OGG": "OPUS"}.get(form, "PCM_16"))
    return file.getvalue()


def write_tar(path, members):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else content.encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def texts_of(folder):
    return {u.utt_id: (u.speaker, u.text) for u in DataDirectory.read(folder).utterances}


@pytest.fixture
def shards(tmp_path):
    """Three tars: texts first or last, dots in names, other suffixes, words in JSON, equal names, hidden files."""
    folder = tmp_path / "shards"
    write_tar(
        folder / "train-00.tar",
        {
            "./b.1.txt": "two  words\n",
            "./b.2.txt": "three",
            "./._b.1.wav": b"a file of macOS",
            "./b.1.wav": encoded(1),
            "./b.2.WAV": encoded(2),
            "sub/c.flac": encoded(3, "FLAC"),
            "sub/c.TXT": "four",
        },
    )
    write_tar(
        folder / "train-01.tar",
        {
            "d.mp3": encoded(4, "MP3"),
            "d.json": json.dumps({"sentence": "five", "duration": 0.4}),
            "e.audio.ogg": encoded(5, "OGG"),
            "e.transcript.txt": "six",
            "lonely.txt": "nothing to hear",
        },
    )
    write_tar(folder / "train-02.tar", {"b.1.flac": encoded(6, "FLAC"), "b.1.cls": "7"})
    return folder


def test_they_are_a_data_directory(shards):
    assert is_shards(shards)
    found = texts_of(shards)
    assert sorted(text for _, text in found.values()) == ["7", "five", "four", "six", "three", "two words"]
    assert {speaker for speaker, _ in found.values()} == {"speaker"}
    assert found["speaker-b.2"] == ("speaker", "three")
    assert found["speaker-sub-c"] == ("speaker", "four")
    for utterance in DataDirectory.read(shards).utterances:
        number = ["two words", "three", "four", "five", "six", "7"].index(utterance.text) + 1
        samples, _ = read_audio(utterance.recording_path)
        assert np.corrcoef(samples[: len(sound(0))], sound(number))[0, 1] > 0.8
    assert len(read_transcripts(shards)) == 6
    report = check_directory(shards, FeatureSettings(sample_rate=RATE), FrontEndSettings())
    assert [p for p in report.problems if "Hz" not in p.found] == []  # Opus has 48 kHz inside
    assert list(verify_shards(shards)) == []


def test_speakers_come_from_the_metadata(tmp_path):
    members = {}
    for n in range(3):
        facts = {"text": f"word {n}", "speaker_id": n // 2}
        members |= {f"utt{n}.wav": encoded(n), f"utt{n}.json": json.dumps(facts)}
    write_tar(tmp_path / "shards" / "a.tar", members)
    assert texts_of(tmp_path / "shards") == {f"{n // 2}-utt{n}": (f"{n // 2}", f"word {n}") for n in range(3)}


def test_changed_tars_get_a_new_index(shards):
    assert len(texts_of(shards)) == 6
    before = (shards / INDEX).read_bytes()
    assert len(texts_of(shards)) == 6
    assert (shards / INDEX).read_bytes() == before
    write_tar(shards / "train-03.tar", {"z.wav": encoded(8), "z.txt": "eight"})
    assert "eight" in {text for _, text in texts_of(shards).values()}
    (shards / "train-03.tar").unlink()
    assert len(texts_of(shards)) == 6


def test_our_own_shards_need_no_index(tmp_path, shards):
    result = import_corpus(read_source(shards), tmp_path / "data", ImportOptions(sample_rate=RATE))
    write_shards(result.directory, tmp_path / "own", shard_s=1.0)
    ours = texts_of(tmp_path / "own")
    (tmp_path / "own" / INDEX).unlink()
    assert texts_of(tmp_path / "own") == ours == texts_of(tmp_path / "data")


def test_import_converts_recordings_that_training_cannot_read(shards, tmp_path):
    write_tar(shards / "train-03.tar", {"f.wav": encoded(7, rate=16000, channels=2), "f.txt": "Stereo!"})
    result = import_corpus(read_source(shards), tmp_path / "data", ImportOptions(sample_rate=RATE))
    assert any("texts without a recording, not used: 1 (train-01.tar: lonely)" in note for note in result.notes)
    assert sorted(texts_of(tmp_path / "data")) == sorted(
        ["speaker-sub-c", "speaker-b.2", "speaker-d", "speaker-e.audio", "speaker-f"]
        + [u.utt_id for u in result.directory.utterances if u.utt_id.startswith("speaker-b.1-")]
    )
    utterances = {u.text: u for u in DataDirectory.read(tmp_path / "data").utterances}
    assert str(tmp_path / "data" / "audio") in utterances["stereo"].recording_path
    samples, rate = read_audio(utterances["two words"].recording_path)  # in the tar
    assert "train-00.tar?offset=" in utterances["two words"].recording_path
    assert_allclose(samples, sound(1), atol=1e-4)
    assert rate == RATE


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.wav": encoded(1), "a.txt": "x", "b.wav": encoded(2)}, r"a\.tar: b\.wav: has no transcript"),
        ({"a.wav": encoded(1, channels=2), "a.txt": "x"}, r"a\.tar: a\.wav: has 2 channels; one"),
        ({"a.wav": b"RIFF", "a.txt": "x"}, r"a\.tar: a\.wav: is not audio"),
        ({"a.wav": encoded(1), "a.txt": b"\xff\xfe\xfd"}, r"a\.tar: a\.wav"),
        ({"a.wav": encoded(1), "a.json": "{"}, r"a\.tar: a\.wav"),
        ({"a.m4a": b"1", "a.txt": "x", "b.wav": encoded(1), "b.txt": "x"}, r"a\.tar: a\.m4a: is \.m4a"),
        ({"a.txt": "x"}, "has tars without recordings"),
    ],
)
def test_unusable_samples_are_listed_and_nothing_is_written(tmp_path, members, message):
    write_tar(tmp_path / "shards" / "a.tar", members)
    with pytest.raises(DataError) as caught:
        DataDirectory.read(tmp_path / "shards")
    assert any(re.search(message, str(problem)) for problem in caught.value.problems), caught.value.problems
    assert "recitative data import" in str(caught.value.problems[0])
    assert not (tmp_path / "shards" / INDEX).exists()


def test_a_tar_that_is_compressed_or_cut_is_named(shards):
    content = (shards / "train-00.tar").read_bytes()
    (shards / "train-00.tar").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=r"train-00\.tar: is no tar, or is damaged .*an uncompressed tar"):
        DataDirectory.read(shards)
    (shards / "train-00.tar").write_bytes(content[:3000])
    with pytest.raises(DataError, match=r"train-00\.tar: is no tar, or is damaged"):
        read_source(shards)


def test_a_folder_that_cannot_be_written_has_a_way_on(shards, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", str(shards / INDEX))

    monkeypatch.setattr(manifests, "write_index", refuse)
    with pytest.raises(
        DataError, match=r"has no index, and cannot be written: .*; make a data directory: 'recitative data"
    ):
        DataDirectory.read(shards)


def test_interrupted_writing_is_not_taken_for_tars_of_others(shards):
    (shards / "parts").mkdir()
    assert not is_shards(shards)


def test_shards_of_webdatasets_writer_are_imported_from_the_command_line(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "one", "wav": encoded(1), "txt": "Hello, world."})
        tar.write({"__key__": "two", "wav": encoded(2), "json": {"text": "Good bye."}})
    options = ["--sample-rate", RATE, "--speaker-per-file"]
    run("data", "import", tmp_path / "a.tar", tmp_path / "data", *options)
    assert texts_of(tmp_path / "data") == {"one": ("one", "hello world"), "two": ("two", "good bye")}
