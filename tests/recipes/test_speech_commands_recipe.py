"""recipes/speech_commands on a made-up corpus of the same form: fetched from here, and every stage, end to end."""

import functools
import hashlib
import tarfile
import threading
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

import recipe_local
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RunError

RECIPE = recipe_local.RECIPES / "speech_commands"
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHERS = ("bed", "cat", "tree")
SPEAKERS = {"aa": "train", "bb": "train", "cc": "dev", "dd": "test"}
RATE = 16000
TINY = (
    "train.epochs=1 train.threads=1 train.workers=0 train.warmup_steps=1 model.recurrent.hidden=4 "
    "model.recurrent.layers=1 model.front_end.channels=[2,2,2]"
)


def write_corpus(folder):
    """Each word once by each of four speakers, two minutes of noise, and the lists of dev and test."""
    rng = np.random.default_rng(0)
    lists = {"dev": [], "test": [], "train": []}
    for number, word in enumerate((*COMMANDS, *OTHERS)):
        (folder / word).mkdir(parents=True)
        for speaker, name in SPEAKERS.items():
            tone = 0.3 * np.sin(np.arange(4000) * (0.1 + 0.05 * number)) + 0.01 * rng.standard_normal(4000)
            place = f"{word}/{speaker}_nohash_0.wav"
            soundfile.write(folder / place, tone, RATE, subtype="PCM_16")
            lists[name].append(place)
    (folder / "validation_list.txt").write_text("\n".join(lists["dev"]) + "\n")
    (folder / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    (folder / "_background_noise_").mkdir()
    for name, seconds in (("hum", 40), ("wash", 80), ("click", 5)):  # a tenth of the last is too short
        noise = 0.1 * rng.standard_normal(seconds * RATE)
        soundfile.write(folder / "_background_noise_" / f"{name}.wav", noise, RATE, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("speech_commands") / "corpus")


@pytest.fixture
def local(monkeypatch):
    return recipe_local.load("speech_commands", "prepare", "fetch", monkeypatch=monkeypatch)


def prepared(prepare, corpus, output, classes="12", subset=0):
    prepare.prepare(corpus, classes, output, subset)
    return {name: DataDirectory.read(output / name).utterances for name in ("train", "dev", "test")}


def test_every_stage_is_done(corpus, tmp_path, run_recipe):
    done = run_recipe("speech_commands", tmp_path, "--corpus", corpus, "--train-args", TINY)
    recipe_local.assert_done(done, "prepare", "check", "train", "score", "export", "report", "speed")
    table = (tmp_path / "RESULTS.md").read_text()
    assert "| command | test | 12 labels | % accuracy |" in table
    assert "| command | test | 12 labels, model.onnx | % accuracy |" in table
    assert "| command | noise | 12 labels, model.onnx, one thread | real-time factor of a file |" in table
    report = (tmp_path / "exp" / "12" / "command" / "report.html").read_text()
    assert "<h1>Speech commands: command, 12 labels, the test set</h1>" in report


def test_the_sets_are_the_corpus_own_and_share_no_speaker(local, corpus, tmp_path):
    sets = prepared(local[0], corpus, tmp_path, classes="35")
    for name, utterances in sets.items():
        assert {SPEAKERS[u.speaker] for u in utterances} == {name}
        assert Counter(u.text for u in utterances) == Counter(
            (*COMMANDS, *OTHERS) * sum(one == name for one in SPEAKERS.values())
        )


def test_twelve_labels_are_commands_and_a_tenth_as_many_unknown_words_and_silences(local, corpus, tmp_path):
    sets = prepared(local[0], corpus, tmp_path)
    for name, commands in (("train", 20), ("dev", 10), ("test", 10)):
        counts = Counter(u.text for u in sets[name])
        assert sum(counts[word] for word in COMMANDS) == commands
        assert counts["_unknown_"] == counts["_silence_"] == commands // 10
        assert set(counts) == {*COMMANDS, "_unknown_", "_silence_"}
        assert all(u.utt_id.split("-")[1] in OTHERS for u in sets[name] if u.text == "_unknown_")
    again = prepared(local[0], corpus, tmp_path / "again")
    assert again == sets, "what is drawn does not change"


def test_no_second_of_noise_is_in_two_sets(local, corpus):
    noise = corpus / "_background_noise_"
    parts = {
        name: list(local[0].silences(noise, part, 300, np.random.default_rng(0)))
        for name, part in local[0].PARTS.items()
    }
    for name, (low, high) in local[0].PARTS.items():
        for u in parts[name]:
            seconds = soundfile.info(u.recording_path).duration
            assert low * seconds - 1e-3 <= u.start_s
            assert u.end_s <= high * seconds + 1e-3
            assert u.end_s - u.start_s == pytest.approx(1.0, abs=1e-3)
    assert {u.recording_id for u in parts["test"]} == {"hum", "wash"}
    counts = Counter(u.recording_id for u in parts["test"])
    assert counts["wash"] / counts["hum"] == pytest.approx(7 / 3, rel=0.3)  # 8 - 1 and 4 - 1 seconds of room


def test_noise_without_a_second_for_every_set_is_refused(local, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(5 * RATE), RATE)
    with pytest.raises(
        DataError, match="has no noise of sufficient length; recordings of which 10% are longer than 1 s"
    ):
        list(local[0].silences(tmp_path, (0.9, 1.0), 1, np.random.default_rng(0)))


def test_what_a_copy_lacks_is_named_all_at_once(local, tmp_path):
    with pytest.raises(DataError) as caught:
        local[0].prepare(tmp_path, "12", tmp_path / "data")
    lacking = [str(problem) for problem in caught.value.problems]
    assert len(lacking) == 13
    assert lacking[0] == f"{tmp_path}/validation_list.txt: does not exist; download the corpus, or correct --corpus"


def test_misnamed_and_missing_recordings_are_named(local, tmp_path):
    write_corpus(tmp_path)
    (tmp_path / "yes" / "dd_nohash_0.wav").rename(tmp_path / "yes" / "dd.wav")
    with pytest.raises(DataError) as caught:
        local[0].prepare(tmp_path, "35", tmp_path / "data")
    misnamed, missing = map(str, caught.value.problems)
    assert misnamed.startswith(f"{tmp_path}/yes/dd.wav: has another name; {{speaker}}_nohash_{{number}}.wav")
    assert missing == f"{tmp_path}/testing_list.txt: yes/dd_nohash_0.wav does not exist; download the corpus again"


def test_a_subset_is_of_train_only(local, corpus, tmp_path):
    sets = prepared(local[0], corpus, tmp_path, classes="35", subset=1)
    assert [len(utterances) for utterances in sets.values()] == [13, 13, 13]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def home(local, corpus, tmp_path, monkeypatch):
    """A server of the archive, whose checksum the recipe is told."""
    archive = tmp_path / "home" / local[1].ARCHIVE
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, arcname=".")
    monkeypatch.setattr(local[1], "MD5", hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest())
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(archive.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_corpus_is_fetched_checked_and_unpacked_once(local, home, corpus, tmp_path):
    local[1].fetch(home, tmp_path / "download")
    fetched = tmp_path / "download" / "speech_commands"
    for file in corpus.rglob("*.*"):
        assert (fetched / file.relative_to(corpus)).read_bytes() == file.read_bytes()
    local[1].fetch("http://127.0.0.1:9", tmp_path / "download")  # what is there is not fetched again


def test_another_archive_is_not_unpacked(local, home, tmp_path):
    with (tmp_path / "home" / local[1].ARCHIVE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"has the MD5 sum .*, as published; delete it and run again"):
        local[1].fetch(home, tmp_path / "download")
    assert not (tmp_path / "download" / "speech_commands").exists()


def test_without_a_network_it_says_what_else_can_be_done(local, tmp_path):
    with pytest.raises(RunError, match=r"could not be fetched .* pass a copy with --corpus"):
        local[1].fetch("http://127.0.0.1:9", tmp_path / "download")
