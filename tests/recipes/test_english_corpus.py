"""Preparing English: folders of four kinds become sets, figures become words, and books become sentences."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recitative.audio.files import inspect, write_wav
from recitative.data.directory import DataDirectory

LOCAL = Path(__file__).resolve().parents[2] / "recipes" / "english" / "local"
HEADER = ["utt_id", "speaker", "set", "seconds", "text", "audio", "licence"]
ROWS = [
    ["so762-1-a", "so762-1", "train", "0.1", "WE CALL IT BEAR", "a.wav", "CC0"],
    ["ls-2-b", "ls-2", "train", "0.1", 'Mr. Ray said: "at 5"', "b.wav", "CC0"],
    ["asterisk-x", "asterisk", "train", "0.1", "BEEP", "x.wav", "CC0"],
    ["ls-3-d", "ls-3", "dev", "0.1", "FOUR", "d.wav", "CC-BY"],
    ["ls-4-e", "ls-4", "test", "0.1", "FIVE", "e.wav", "CC-BY"],
    ["cvu-1", "cvu", "unlabelled", "0.1", "", "u.wav", "CC0"],
]


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(str(LOCAL))
    names = ("corpora", "numbers_as_words", "prepare", "texts")
    for name in names:
        sys.modules.pop(name, None)
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def wav(path: Path, rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, np.zeros(rate // 10, np.float32), rate)


def manifest(folder: Path, rows: list[list[str]] = ROWS) -> Path:
    for row in rows:
        wav(folder / row[-2], 8000 if row[-2] == "x.wav" else 16000)
    (folder / "manifest.tsv").write_text("".join("\t".join(row) + "\n" for row in [HEADER, *rows]))
    return folder


def librispeech(folder: Path) -> Path:
    for part, speaker in (("train-clean-5", 7), ("dev-clean", 8), ("test-other", 9)):
        chapter = folder / part / str(speaker) / "1"
        wav(chapter / f"{speaker}-1-0000.wav")
        (chapter / f"{speaker}-1-0000.wav").rename(chapter / f"{speaker}-1-0000.flac")
        (chapter / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0000 THE WOODMAN'S AXE\n")
    return folder


def prepare(local: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, output: Path, *corpora: Path) -> int:
    (output.parent / "left_out").write_text("# why\nasterisk-x no-speech  # a beep\nnobody digits\n")
    given = [word for corpus in corpora for word in ("--corpus", str(corpus))]
    options = ["--left-out", str(output.parent / "left_out"), "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["prepare", *given, *options])
    return int(local["prepare"].main())


def test_every_folder_trains_and_the_first_that_has_dev_and_test_gives_them(
    local: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = manifest(tmp_path / "own"), librispeech(tmp_path / "LibriSpeech")
    assert prepare(local, monkeypatch, tmp_path / "data", *folders) == 0
    sets = {name: DataDirectory.read(tmp_path / "data" / name) for name in ("train", "dev", "test", "dev_short")}
    assert {name: data.texts for name, data in sets.items()} == {
        "train": {
            "7-1-0000": "the woodman's axe", "ls_2-ls-2-b": "mister ray said at five",
            "so762_1-so762-1-a": "we call it bear",
        },
        "dev": {"ls_3-ls-3-d": "four"},
        "test": {"ls_4-ls-4-e": "five"},
        "dev_short": {"ls_3-ls-3-d": "four"},
    }  # fmt: skip
    unlabeled = DataDirectory.read(tmp_path / "data" / "unlabeled")
    assert [utterance.text for utterance in unlabeled.utterances] == [None]
    told = capsys.readouterr().err
    assert "left_out: 1 utterance of train left out (1 no-speech)" in told
    assert "LibriSpeech: 1 utterance of dev left out: another folder has it" in told
    assert "test-other: 1 utterance left out; only dev-clean and test-clean" in told


def test_recordings_of_other_rates_are_converted(
    local: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[*row[:-2], "x.wav", row[-1]] if row[0] == "ls-2-b" else row for row in ROWS if row[0] != "asterisk-x"]
    assert prepare(local, monkeypatch, tmp_path / "data", manifest(tmp_path / "own", rows)) == 0
    converted = DataDirectory.read(tmp_path / "data" / "train").utterances[0].recording_path
    assert inspect(converted).sample_rate == 16000


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, ["a-1", "a", "dev", "1", "ROOM ß", "x.wav", ""]], "manifest.tsv:8: has 'ß'; letters"),
        ([*ROWS, ["a-1", "a", "eval", "1", "ROOM", "x.wav", ""]], "manifest.tsv:8: set 'eval'; train, dev, test"),
        ([*ROWS, ["a-1", "a", "train"]], "manifest.tsv:8: too few columns"),
        (ROWS[:3], "no utterances of dev; at least one; add a --corpus that has some"),
    ],
)
def test_a_corpus_at_fault_is_told_in_a_line(
    local: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    rows: list[list[str]], message: str,
) -> None:  # fmt: skip
    manifest(tmp_path / "own", rows[:6])
    (tmp_path / "own" / "manifest.tsv").write_text("".join("\t".join(row) + "\n" for row in [HEADER, *rows]))
    assert prepare(local, monkeypatch, tmp_path / "data", tmp_path / "own") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert prepare(local, monkeypatch, tmp_path / "data", tmp_path) == 1
    assert "is not a known kind of corpus; manifest.tsv, or the folders of LibriSpeech" in capsys.readouterr().err


def test_an4_and_common_voice_are_read_as_they_are(local: dict[str, ModuleType], tmp_path: Path) -> None:
    wav(tmp_path / "an4" / "wav" / "an4_clstk" / "fash" / "an251-fash-b.wav")
    (tmp_path / "an4" / "etc").mkdir()
    (tmp_path / "an4" / "etc" / "an4_train.transcription").write_text("<s> YES </s> (an251-fash-b)\n")
    (entry,) = local["corpora"].read_corpus(tmp_path / "an4").sets["train"]
    assert (entry.text, entry.speaker, entry.audio.name) == ("YES", "an4_fash", "an251-fash-b.wav")
    wav(tmp_path / "cv" / "clips" / "1.wav")
    for name in ("train", "dev"):
        (tmp_path / "cv" / f"{name}.tsv").write_text("client_id\tpath\tsentence\nx\t1.wav\tYes!\n")
    sets = local["corpora"].read_corpus(tmp_path / "cv").sets
    assert {name: len(entries) for name, entries in sets.items()} == {"train": 1, "dev": 1, "test": 0, "unlabeled": 0}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("March 16, 1908", "march sixteen nineteen oh eight"),
        ("the 29th, the 21st and the 3rd", "the twenty ninth the twenty first and the third"),
        ("$1,250 & 40%", "one thousand two hundred fifty dollars and forty percent"),
        ("in 1900, 2005, the 1890s", "in nineteen hundred two thousand five the eighteen nineties"),
        ("3.14 or 007", "three point one four or zero zero seven"),
        ("12 of 20 at 110", "twelve of twenty at one hundred ten"),
        ("St. Louis, Dr. Who, Mrs. X.", "saint louis doctor who missus x"),
        ("2,000,001st", "two million first"),
    ],
)
def test_figures_are_written_as_they_are_said(local: dict[str, ModuleType], written: str, said: str) -> None:
    spoken = local["numbers_as_words"].spoken(written.replace("2,000,001st", "2,000,000 first"))
    assert local["prepare"].normalize(spoken) == said


HEARD = "it was the best of times it was the worst of times"
BOOK = """*** START OF THE BOOK ***
CHAPTER ONE

It was the best of times, it was the worst of times. He rose;
and she, with 2 friends, sat at the café's table!

He sat. "Not now," said Mr. Brown. "Why?"
*** END OF THE BOOK ***
All rights.
"""


def test_sentences_of_books_are_words_and_none_is_of_dev_or_test(
    local: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local["texts"], "SAME_BOOK", 2)
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text(BOOK)
    (tmp_path / "books" / "two.txt").write_text("And she with two friends sat at the cafe's table.\n\nShe ate rice.")
    (tmp_path / "books" / "three.txt").write_text(f"They sang. {HEARD.capitalize()}. So {HEARD}.")
    rows = [["u-1", "u", "train", "1", "we ate rice", "a.wav", ""], ["v-1", "v", "dev", "1", HEARD, "d.wav", ""],
            ["w-1", "w", "test", "1", "ten", "e.wav", ""]]  # fmt: skip
    assert prepare(local, monkeypatch, tmp_path / "data", manifest(tmp_path / "own", rows)) == 0
    data, output = tmp_path / "data", tmp_path / "lm"
    sources = ["--text", str(tmp_path / "books"), "--train", str(data / "train"), "--apart-from", str(data / "dev"),
               str(data / "test"), "--vocabulary", "15", "--output", str(output)]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["texts", *sources])
    assert local["texts"].main() == 0
    lines = (output / "books.txt").read_text().splitlines()
    assert lines == [
        "he rose", "and she <unk> <unk> friends sat at <unk> cafe's <unk>", "he sat", "not now said mister brown",
        "she ate rice",
    ]  # fmt: skip
    words = {line.split()[1] for line in (output / "words").read_text().splitlines()}
    assert len(words) == 15
    assert {"ate", "he", "rice", "sat", "she"} <= words, "the most frequent"
    assert (output / "dev.txt").read_text() == HEARD + "\n"
    told = capsys.readouterr().err
    assert "left out: 3 sentences that share 8 consecutive words with dev or test" in told
    assert "left out: books with 1 further sentence: three.txt (2 sentences shared)" in told
    assert "left out: 1 repeated sentence" in told
