"""Fetching and preparing LibriSpeech, on a corpus of the same form with a handful of recordings, served from here."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import importlib
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RunError
from recitative.lm.estimate import read_sentences

LOCAL = Path(__file__).resolve().parents[2] / "recipes" / "librispeech" / "local"
MODULES = ("subsets", "prepare", "fetch")
CHAPTERS = {  # part -> reader -> chapter -> transcripts
    "train-clean-5": {"84": {"121123": ["GO DO YOU HEAR", "IT'S SO"]}, "840": {"7": ["AND"]}},
    "dev-clean-2": {"652": {"129742": ["POUR"]}},
    "test-clean": {"61": {"70968": ["HE BEGAN"]}},
    "test-other": {"367": {"130732": ["LOBSTERS"]}},
}


def _make_part(corpus: Path, name: str) -> Path:
    for reader, chapters in CHAPTERS[name].items():
        for chapter, texts in chapters.items():
            folder = corpus / name / reader / chapter
            folder.mkdir(parents=True)
            ids = [f"{reader}-{chapter}-{number:04d}" for number in range(len(texts))]
            lines = [f"{utt_id} {text}\n" for utt_id, text in zip(ids, texts, strict=True)]
            (folder / f"{reader}-{chapter}.trans.txt").write_text("".join(lines))
            for utt_id in ids:
                soundfile.write(folder / f"{utt_id}.flac", np.zeros(160, np.float32), 16000)
    return corpus / name


def _utterances(name: str) -> int:
    return sum(len(texts) for chapters in CHAPTERS[name].values() for texts in chapters.values())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in CHAPTERS:
        _make_part(tmp_path / "LibriSpeech", name)
    return tmp_path / "LibriSpeech"


@pytest.fixture
def librispeech(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The recipe's modules, told that mini has as many utterances as this one."""
    monkeypatch.syspath_prepend(str(LOCAL))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    modules = {name: importlib.import_module(name) for name in MODULES}
    sizes = modules["subsets"].SIZES
    _set_parts(monkeypatch, sizes, lambda part: dataclasses.replace(part, utterances=_utterances(part.name)))
    yield modules
    for name in MODULES:
        sys.modules.pop(name, None)


def _set_parts(monkeypatch: pytest.MonkeyPatch, sizes: dict, change) -> None:
    mini = {name: tuple(change(part) for part in parts) for name, parts in sizes["mini"].items()}
    monkeypatch.setitem(sizes, "mini", mini)


@pytest.fixture
def home(
    corpus: Path, tmp_path: Path, librispeech: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A server of the four archives, whose checksums the recipe is told; nothing else is at hand."""
    sizes = librispeech["subsets"].SIZES
    sums = {}
    for parts in sizes["mini"].values():
        for part in parts:
            archive = tmp_path / "home" / part.path
            archive.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(corpus / part.name, arcname=f"LibriSpeech/{part.name}")
            sums[part.name] = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    _set_parts(monkeypatch, sizes, lambda part: dataclasses.replace(part, md5=sums[part.name]))
    handler = functools.partial(_Quiet, directory=str(tmp_path / "home"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _fetch_mini(modules: dict[str, ModuleType], home: str, output: Path) -> None:
    for parts in modules["subsets"].SIZES["mini"].values():
        for part in parts:
            modules["fetch"].fetch(part, home, output)


def test_all_parts_of_a_size_are_fetched_checked_and_unpacked(
    librispeech: dict[str, ModuleType], home: str, corpus: Path, tmp_path: Path
) -> None:
    _fetch_mini(librispeech, home, tmp_path / "download")
    fetched = tmp_path / "download" / "LibriSpeech"
    assert sorted(path.name for path in fetched.iterdir()) == sorted(CHAPTERS)
    for file in corpus.rglob("*.*"):
        assert (fetched / file.relative_to(corpus)).read_bytes() == file.read_bytes()
    (tmp_path / "home" / "31" / "train-clean-5.tar.gz").unlink()
    _fetch_mini(librispeech, home, tmp_path / "download")  # what is there is not fetched again


def test_an_archive_with_another_checksum_is_not_unpacked(
    librispeech: dict[str, ModuleType], home: str, tmp_path: Path
) -> None:
    with (tmp_path / "home" / "31" / "train-clean-5.tar.gz").open("ab") as file:
        file.write(b"x")
    with pytest.raises(
        DataError, match=r"train-clean-5.tar.gz: has the MD5 sum .*; [0-9a-f]{32}, as published; delete"
    ):
        _fetch_mini(librispeech, home, tmp_path / "download")
    assert not (tmp_path / "download" / "LibriSpeech").exists()


def test_a_part_that_is_not_there_says_what_else_can_be_done(
    librispeech: dict[str, ModuleType], home: str, tmp_path: Path
) -> None:
    (tmp_path / "home" / "31" / "train-clean-5.tar.gz").unlink()
    with pytest.raises(RunError, match=r"404.*put it at .*train-clean-5\.tar\.gz, or pass a copy"):
        _fetch_mini(librispeech, home, tmp_path / "download")


def test_a_part_with_a_recording_missing_leaves_no_corpus_behind(
    librispeech: dict[str, ModuleType], home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {
        name: dataclasses.replace(part, utterances=99) for name, (part,) in librispeech["subsets"].SIZES["mini"].items()
    }
    with pytest.raises(DataError, match=r"train-clean-5: 3 utterances; 99, as published"):
        librispeech["fetch"].fetch(more["train"], home, tmp_path / "download")
    assert [path.name for path in (tmp_path / "download").iterdir()] == ["train-clean-5.tar.gz"]


def test_the_parts_become_data_directories(librispeech: dict[str, ModuleType], corpus: Path, tmp_path: Path) -> None:
    librispeech["prepare"].prepare(corpus, "mini", tmp_path / "data", 0)
    sets = {name: DataDirectory.read(tmp_path / "data" / name) for name in ("train", "dev", "test_clean", "test_other")}
    texts = {"84-121123-0000": "go do you hear", "84-121123-0001": "it's so", "840-7-0000": "and"}
    assert sets["train"].texts == texts
    assert sets["train"].utt2spk == {name: name.split("-")[0] for name in texts}
    assert [list(sets[name].texts.values()) for name in ("dev", "test_clean", "test_other")] == [
        ["pour"], ["he began"], ["lobsters"],
    ]  # fmt: skip
    librispeech["prepare"].prepare(corpus, "mini", tmp_path / "less", 1)
    assert list(DataDirectory.read(tmp_path / "less" / "train").texts) == ["84-121123-0000", "840-7-0000"]


def test_everything_that_is_wrong_with_a_part_is_named_at_once(
    librispeech: dict[str, ModuleType], corpus: Path, tmp_path: Path
) -> None:
    folder = corpus / "train-clean-5" / "84" / "121123"
    (folder / "84-121123-0001.flac").unlink()
    (folder / "84-121123.trans.txt").write_text("84-121123-0000 GO 2 DO\n84-121123-0001 IT'S SO\n")
    with pytest.raises(DataError) as caught:
        librispeech["prepare"].prepare(corpus, "mini", tmp_path / "data", 0)
    first, second = map(str, caught.value.problems)
    assert "84-121123.trans.txt:1: '84-121123-0000 GO 2 DO'; 'speaker-chapter-number WORDS'" in first
    assert "84-121123.trans.txt:2: no recording 84-121123-0001.flac" in second
    with pytest.raises(DataError, match=r"nowhere/train-clean-5: does not exist; LibriSpeech's train-clean-5"):
        librispeech["prepare"].prepare(tmp_path / "nowhere", "mini", tmp_path / "data", 0)


def test_lines_of_the_official_text_are_taken_evenly(
    librispeech: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(librispeech["prepare"], "LM_LINES", 10)
    (tmp_path / "lm.gz").write_bytes(gzip.compress("".join(f"LINE {'A' * n}\n" for n in range(10)).encode()))
    librispeech["prepare"].write_lm_text(tmp_path / "lm.gz", 4, tmp_path / "lm_text")
    taken = read_sentences(tmp_path / "lm_text").lines
    assert list(taken) == [f"line {'a' * n}".strip() for n in (0, 2, 4, 6, 8)]
    (tmp_path / "lm.gz").write_bytes((tmp_path / "lm.gz").read_bytes()[:-12])
    with pytest.raises(DataError, match=r"lm.gz: cannot be read"):
        librispeech["prepare"].write_lm_text(tmp_path / "lm.gz", 4, tmp_path / "lm_text")
