"""Fetching and preparing AN4, on a corpus of the same layout with a handful of recordings, served from this machine."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from recitative.audio.files import read_audio
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RunError
from recitative.text.tokens import Lexicon

LOCAL = Path(__file__).resolve().parents[2] / "recipes" / "an4" / "local"
SHARED = LOCAL.parents[3] / "shared" / "data" / "an4"
TRAIN = {"an251-fash-b": "YES", "an36-fejs-b": "RUBOUT C  Y SEVEN", "cen1-mblb-b": "F O R T Y"}
TEST = {"an406-fcaw-b": "ERASE G THREE", "cen2-mmxg-b": "H E"}
SECONDS_EACH = 0.5


@pytest.fixture
def an4(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The recipe's fetch and prepare, told that the official corpus is the small one."""
    monkeypatch.syspath_prepend(str(LOCAL))
    for name in ("prepare", "fetch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    fetch, prepare = importlib.import_module("fetch"), importlib.import_module("prepare")
    monkeypatch.setattr(prepare, "OFFICIAL", {"train": len(TRAIN), "test": len(TEST)})
    monkeypatch.setattr(fetch, "SECONDS", SECONDS_EACH * (len(TRAIN) + len(TEST)))
    yield fetch, prepare
    for name in ("prepare", "fetch"):
        sys.modules.pop(name, None)


def _speechlike(seed: int) -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(seed).normal(size=int(16000 * SECONDS_EACH)))
    return (walk / np.abs(walk).max() * 0.3).astype(np.float32)


def _make_corpus(folder: Path, suffix: str = ".sph", byte_order: str = ">i2") -> Path:
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "an4.dic").write_text("A  AH\nA(2)  EY\nGO  G OW\n")
    for seed, (name, texts, audio) in enumerate((("train", TRAIN, "an4_clstk"), ("test", TEST, "an4test_clstk"))):
        fileids = {utt: f"{audio}/{utt.split('-')[1]}/{utt}" for utt in texts}
        marked = {utt: f"<s> {text} </s>" if name == "train" else text for utt, text in texts.items()}
        (folder / "etc" / f"an4_{name}.fileids").write_text("".join(f"{fileid}\n" for fileid in fileids.values()))
        lines = [f"{text} ({utt})\n" for utt, text in marked.items()]
        (folder / "etc" / f"an4_{name}.transcription").write_text("".join(lines))
        for number, fileid in enumerate(fileids.values()):
            _write_recording(folder / "wav" / (fileid + suffix), _speechlike(10 * seed + number), byte_order)
    return folder


def _write_recording(path: Path, samples: np.ndarray, byte_order: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".raw":
        path.write_bytes((samples * 32768).astype(byte_order).tobytes())
    else:
        soundfile.write(path, samples, 16000, format="NIST" if path.suffix == ".sph" else None, subtype="PCM_16")


def _pack(corpus: Path, archive: Path) -> bytes:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, arcname="an4")
    return archive.read_bytes()


class _Home(ThreadingHTTPServer):
    """Serves one archive; ``break_after`` closes the connection after that many bytes of the next answer."""

    def __init__(self, content: bytes, ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.ranges, self.break_after = content, ranges, len(content)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/an4_sphere.tar.gz"


class _Handler(BaseHTTPRequestHandler):
    server: _Home

    def do_GET(self) -> None:
        asked = self.headers["Range"] or "all"
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked != "all" and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[_Home]:
    server = _Home(_pack(_make_corpus(tmp_path / "original"), tmp_path / "original.tar.gz"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _digest(corpus: Path) -> str:
    files = sorted(path for path in corpus.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(f.relative_to(corpus)).encode() + f.read_bytes() for f in files)).hexdigest()


def test_the_corpus_is_fetched_unpacked_and_checked(
    an4: tuple[ModuleType, ModuleType], home: _Home, tmp_path: Path
) -> None:
    fetch, _ = an4
    fetch.fetch(home.url, tmp_path / "download")
    assert _digest(tmp_path / "download" / "an4") == _digest(tmp_path / "original")
    fetch.fetch(home.url, tmp_path / "download")
    assert home.asked == ["all"], "what is there is not fetched again"


def test_an_interrupted_download_goes_on_where_it_stopped(
    an4: tuple[ModuleType, ModuleType], home: _Home, tmp_path: Path
) -> None:
    fetch, _ = an4
    home.break_after = 5000
    with pytest.raises(RunError, match=r"the connection ended after 5000 of \d+ bytes.*run the stage again"):
        fetch.fetch(home.url, tmp_path / "download")
    assert not (tmp_path / "download" / "an4").exists()
    home.break_after = len(home.content)
    fetch.fetch(home.url, tmp_path / "download")
    assert home.asked == ["all", "bytes=5000-"]
    assert (tmp_path / "download" / "an4_sphere.tar.gz").read_bytes() == home.content


@pytest.mark.parametrize("left_over", [5000, 10_000_000])
def test_a_server_that_cannot_continue_is_asked_for_everything(
    an4: tuple[ModuleType, ModuleType], home: _Home, tmp_path: Path, left_over: int
) -> None:
    fetch, _ = an4
    home.ranges = left_over > len(home.content)  # too much on disk: the server answers 416
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "an4_sphere.tar.gz.part").write_bytes(b"x" * left_over)
    fetch.fetch(home.url, tmp_path / "download")
    assert (tmp_path / "download" / "an4_sphere.tar.gz").read_bytes() == home.content


def test_no_network_says_the_three_ways_on(an4: tuple[ModuleType, ModuleType], home: _Home, tmp_path: Path) -> None:
    fetch, _ = an4
    home.server_close()
    with pytest.raises(RunError, match=r"run the stage again.*put it at .*an4_sphere\.tar\.gz.*--corpus"):
        fetch.fetch(home.url, tmp_path / "download")


def test_a_damaged_archive_leaves_no_corpus_behind(
    an4: tuple[ModuleType, ModuleType], home: _Home, tmp_path: Path
) -> None:
    fetch, _ = an4
    middle = len(home.content) // 2
    home.content = home.content[:middle] + bytes(50) + home.content[middle + 50 :]
    with pytest.raises(DataError, match=r"is damaged .*delete it and run the stage again"):
        fetch.fetch(home.url, tmp_path / "download")
    assert sorted(path.name for path in (tmp_path / "download").iterdir()) == ["an4_sphere.tar.gz"]


def test_an_archive_with_a_recording_missing_is_not_taken_for_the_corpus(
    an4: tuple[ModuleType, ModuleType], home: _Home, tmp_path: Path
) -> None:
    fetch, _ = an4
    (tmp_path / "original" / "wav" / "an4_clstk" / "fash" / "an251-fash-b.sph").unlink()
    home.content = _pack(tmp_path / "original", tmp_path / "less.tar.gz")
    with pytest.raises(DataError, match=r"an251-fash-b: no recording; \.sph or"):
        fetch.fetch(home.url, tmp_path / "download")
    assert not (tmp_path / "download" / "an4").exists()


def test_an_archive_with_less_audio_is_not_taken_for_the_corpus(
    an4: tuple[ModuleType, ModuleType], home: _Home, tmp_path: Path
) -> None:
    fetch, _ = an4
    _write_recording(tmp_path / "original/wav/an4_clstk/fash/an251-fash-b.sph", _speechlike(0)[:4000], "")
    home.content = _pack(tmp_path / "original", tmp_path / "less.tar.gz")
    with pytest.raises(DataError, match=r"2\.2 s of audio; 2\.5 s"):
        fetch.fetch(home.url, tmp_path / "download")


def test_nothing_is_unpacked_outside_the_folder(an4: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    fetch, _ = an4
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        for name in ("../outside", str(tmp_path / "absolute"), "an4/inside"):
            tar.addfile(tarfile.TarInfo(name))
    fetch.unpack(tmp_path / "evil.tar.gz", tmp_path / "deep" / "folder")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in written) == ["evil.tar.gz", "inside"]


def _prepare(prepare: ModuleType, corpus: Path, output: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    dev = output.parent / "dev_speakers.txt"
    dev.write_text("fejs\n")
    arguments = ["prepare", "--corpus", str(corpus), "--dev-speakers", str(dev), "--output", str(output), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    return int(prepare.main())


def test_ids_start_with_the_speaker_and_texts_are_lower_case_without_markers(
    an4: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _prepare(an4[1], _make_corpus(tmp_path / "an4"), tmp_path / "data", monkeypatch) == 0
    sets = {name: DataDirectory.read(tmp_path / "data" / name) for name in ("train", "dev", "test")}
    assert sets["train"].texts == {"fash-an251-b": "yes", "mblb-cen1-b": "f o r t y"}
    assert sets["dev"].texts == {"fejs-an36-b": "rubout c y seven"}
    assert sets["test"].texts == {"fcaw-an406-b": "erase g three", "mmxg-cen2-b": "h e"}
    assert sets["dev"].utt2spk == {"fejs-an36-b": "fejs"}


def test_the_dictionary_is_in_lower_case_and_the_word_a_is_first_the_letter(
    an4: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prepare(an4[1], _make_corpus(tmp_path / "an4"), tmp_path / "data", monkeypatch)
    lexicon = Lexicon.read(tmp_path / "data" / "dictionary.txt")
    assert lexicon.entries == {"a": (("EY",), ("AH",)), "go": (("G", "OW"),)}


@pytest.mark.parametrize(("suffix", "byte_order"), [(".sph", ""), (".flac", ""), (".raw", ">i2"), (".raw", "<i2")])
def test_every_distributed_format_gives_the_same_samples(
    an4: tuple[ModuleType, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, byte_order: str
) -> None:
    _prepare(an4[1], _make_corpus(tmp_path / "an4", suffix, byte_order), tmp_path / "data", monkeypatch)
    (utterance,) = DataDirectory.read(tmp_path / "data" / "dev").utterances
    samples, sample_rate = read_audio(utterance.recording_path)
    assert sample_rate == 16000
    np.testing.assert_allclose(samples, _speechlike(1), atol=1 / 32768)  # one step of 16 bits


def test_a_shortened_official_list_is_an_error_and_writes_nothing(
    an4: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus = _make_corpus(tmp_path / "an4")
    fileids = corpus / "etc" / "an4_test.fileids"
    fileids.write_text(fileids.read_text().splitlines(keepends=True)[0])
    assert _prepare(an4[1], corpus, tmp_path / "data", monkeypatch) == 1
    assert "an4_test.fileids: 1 lines; 2, the official list" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_missing_corpus_names_the_option_that_gives_one(
    an4: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _prepare(an4[1], tmp_path / "nowhere", tmp_path / "data", monkeypatch) == 1
    assert "pass the folder with etc/ and wav/ as --corpus" in capsys.readouterr().err


def test_the_held_out_speakers_are_four_women_and_four_men() -> None:
    speakers = (LOCAL / "dev_speakers.txt").read_text().split()
    assert sorted(speaker[0] for speaker in speakers) == ["f"] * 4 + ["m"] * 4


@pytest.mark.skipif(not SHARED.exists(), reason="the AN4 corpus is not beside the repository")
def test_the_real_corpus_gives_the_official_test_set(tmp_path: Path) -> None:
    command = [sys.executable, str(LOCAL / "prepare.py"), "--corpus", str(SHARED), "--output", str(tmp_path)]
    subprocess.run([*command, "--dev-speakers", str(LOCAL / "dev_speakers.txt")], check=True, capture_output=True)
    sets = {name: DataDirectory.read(tmp_path / name) for name in ("train", "dev", "test")}
    assert {name: len(data.utterances) for name, data in sets.items()} == {"train": 844, "dev": 104, "test": 130}
    assert sum(len(text.split()) for text in sets["test"].texts.values()) == 773
    assert not sets["train"].by_speaker.keys() & (sets["dev"].by_speaker.keys() | sets["test"].by_speaker.keys())
