"""Preparing the collection of read English, on a manifest of a few lines."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from recitative.data.directory import DataDirectory
from recitative.errors import DataError

LOCAL = Path(__file__).resolve().parents[2] / "recipes" / "english" / "local"
HEADER = ["utt_id", "speaker", "set", "seconds", "text", "audio"]
ROWS = [
    ["so762-1-a", "so762-1", "train", "2.5", "WE CALL IT BEAR", "so762/a.ogg"],
    ["so762-1-b", "so762-1", "train", "2.5", "MARK  IS GOING", "so762/b.ogg"],
    ["so762-2-c", "so762-2", "train", "2.5", "DON'T", "so762/c.ogg"],
    ["asterisk-x", "asterisk", "train", "0.2", "BEEP", "asterisk/x.ogg"],
    ["so762-3-d", "so762-3", "test", "2.5", "FOUR", "so762/d.ogg"],
]


@pytest.fixture
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("english_prepare", LOCAL / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(prepare: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, rows: list[list[str]], *more: str) -> int:
    (folder / "manifest.tsv").write_text("".join("\t".join(row) + "\n" for row in [HEADER, *rows]))
    (folder / "dev").write_text("# who\nso762-2\n")
    (folder / "left_out").write_text("asterisk-x no-speech  # a beep\n")
    lists = ["--dev-speakers", str(folder / "dev"), "--left-out", str(folder / "left_out")]
    arguments = ["prepare", "--corpus", str(folder), *lists, "--output", str(folder / "data"), *more]
    monkeypatch.setattr("sys.argv", arguments)
    return int(prepare.main())


def test_dev_is_the_listed_speakers_and_what_is_left_out_is_counted(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(prepare, tmp_path, monkeypatch, ROWS) == 0
    texts = {name: DataDirectory.read(tmp_path / "data" / name).texts for name in ("train", "dev", "test")}
    assert texts == {
        "train": {"so762-1-a": "we call it bear", "so762-1-b": "mark is going"},
        "dev": {"so762-2-c": "don't"},
        "test": {"so762-3-d": "four"},
    }
    said = capsys.readouterr().err
    assert "left_out: 1 utterances left out (1 no-speech)" in said
    assert "dev: 1 utterances, 1 words, 1 speakers; characters 'dnot and the space" in said
    assert _run(prepare, tmp_path, monkeypatch, ROWS, "--subset", "1") == 0
    assert list(DataDirectory.read(tmp_path / "data" / "train").texts) == ["so762-1-a"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["a-1", "a", "train", "1", "ROOM 4", "x.ogg"], "manifest.tsv:7: '4' instead of letters, the apostrophe"),
        (["a-1", "a", "dev", "1", "ROOM", "x.ogg"], "manifest.tsv:7: set 'dev' instead of train or test"),
        (["a-1", "a", "train"], "manifest.tsv:7: too few columns"),
    ],
)
def test_a_line_of_another_kind_is_named(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    row: list[str], message: str,
) -> None:  # fmt: skip
    assert _run(prepare, tmp_path, monkeypatch, [*ROWS, row]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_names_that_the_corpus_lacks_are_an_error(prepare: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("nobody reason\n")
    with pytest.raises(DataError, match="list: utterance 'nobody' is not in train"):
        prepare.leave_out({}, tmp_path / "list")
    (tmp_path / "list").write_text("nobody\n")
    with pytest.raises(DataError, match="list: speaker 'nobody' is not in train"):
        prepare.hold_out({"train": {}}, tmp_path / "list")


def test_the_shipped_lists_name_each_entry_once(prepare: ModuleType) -> None:
    speakers = prepare._read_list(LOCAL / "dev_speakers.txt")
    left_out = [line.split() for line in prepare._read_list(LOCAL / "left_out.txt")]
    assert len(speakers) == len(set(speakers)) == 13
    assert len(left_out) == len({name for name, _ in left_out}) == 70
    assert {reason for _, reason in left_out} == {"no-speech", "digits", "note"}
