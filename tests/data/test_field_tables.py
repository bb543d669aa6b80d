"""Tables and texts as other people's tools write them, after reports of users; see tests/field_cases/README.md."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from command_line import run
from recitative.data.directory import DataDirectory

CASES = Path(__file__).resolve().parents[1] / "field_cases"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four recordings and all tables of the field cases; 'BIG' has capital letters and a suffix."""
    for name in ("u1.wav", "u2.wav", "big.WAV", "stop.wav"):
        shutil.copy(CASES / "go.wav", tmp_path / name)
    for path in CASES.iterdir():
        if path.suffix in (".csv", ".json", ".txt"):
            shutil.copy(path, tmp_path / path.name)
    return tmp_path


def import_table(folder: Path, table: str, *options: str, status: int = 0) -> str:
    """What it says on stderr."""
    arguments = ("data", "import", folder, folder.parent / "data", "--table", folder / table)
    return run(*arguments, *options, status=status).err


def imported(folder: Path, table: str, *options: str) -> dict[str, str]:
    """recording -> text."""
    import_table(folder, table, *options)
    return {Path(u.recording_path).name: u.text or "" for u in DataDirectory.read(folder.parent / "data").utterances}


TABLES = {
    "17_sep_line.csv": {"u1.wav": "go", "u2.wav": "stop now"},
    "18_no_suffix_upper.csv": {"big.WAV": "go"},
    "19_header_with_blank.csv": {"u1.wav": "go", "u2.wav": "stop"},
    "19_nemo_manifest.json": {"u1.wav": "go", "u2.wav": "go on"},
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_other_tools_is_read(folder: Path, table: str) -> None:
    (folder / "in").mkdir()
    assert imported(folder, table) == TABLES[table]


def test_a_manifest_of_nemo_is_a_source_by_itself(folder: Path) -> None:
    manifest = folder / "19_nemo_manifest.json"
    line = '{"audio_filepath": "u1.wav", "text": "on", "offset": 0.9, "duration": 0.4, "speaker": "anna"}\n'
    manifest.write_text(manifest.read_text().replace('"text"', '"speaker": "bert", "text"') + line)
    run("data", "import", manifest, folder / "data")
    found = [(u.utt_id, u.start_s, u.end_s, u.text) for u in DataDirectory.read(folder / "data").utterances]
    assert found == [
        ("anna-u1-0.900", 0.9, 1.3, "on"),
        ("bert-u1", 0.0, 0.9, "go"),
        ("bert-u2", 0.0, 0.9, "go on"),
    ]


BAD_LINES = {
    "[1]\n": "is a list; one object a line",
    '{"audio_filepath": "u1.wav"}\n': "has no words; at least one",
    '{"audio_filepath": "u1.wav", "text": "go", "duration": "1"}\n': "has the time '1'; seconds, 0 or more",
    '{"audio_filepath": "v1.wav", "text": "go"}\n': "(v1.wav) does not exist; a recording; did you mean 'u1.wav'?",
    '{"audio_filepath"\n': "is not JSON",
}


def test_a_bad_line_of_a_manifest_is_named(folder: Path) -> None:
    (folder / "a.json").write_text('{"audio_filepath": "u1.wav", "text": "go"}\n' + "".join(BAD_LINES))
    told = import_table(folder, "a.json", status=1)
    for number, message in enumerate(BAD_LINES.values(), start=2):
        assert f"a.json:{number}: {message}" in told


def test_names_are_found_whatever_their_accents_case_and_slashes(folder: Path) -> None:
    with tarfile.open(CASES / "16_nfd_name.tar.gz") as tar:
        tar.extractall(folder)  # our own archive; Python 3.11.2 knows no filter
    assert imported(folder, "16_nfc.csv") == {"cafe\u0301.wav": "go"}
    told = import_table(folder, "16_nfc.csv")
    assert "files are spelled differently (case, accents, blanks, '_', '\\' or suffix): 1, first" in told
    (folder / "clips").mkdir()
    (folder / "u1.wav").rename(folder / "clips" / "v1.wav")
    (folder / "a.csv").write_text("path,text\n.\\Clips\\v1.wav,go\nU2.WAV,on\n")
    assert imported(folder, "a.csv") == {"v1.wav": "go", "u2.wav": "on"}


def test_a_name_that_could_be_two_files_is_not_guessed(folder: Path) -> None:
    shutil.copy(folder / "big.WAV", folder / "Big.wav")
    told = import_table(folder, "18_no_suffix_upper.csv", status=1)
    assert "18_no_suffix_upper.csv:2: (BIG) does not exist; a recording; did you mean 'Big.wav'?" in told


def test_windows_1252_is_named_and_read_if_that_is_right(folder: Path) -> None:
    told = import_table(folder, "17_cp1252.csv", status=1)
    assert "17_cp1252.csv:2: byte 0x92 in column 11 is not UTF-8; as Windows-1252 the line reads" in told
    assert '"u1.wav;don\u2019t go"; UTF-8; if that is right, say --encoding cp1252' in told
    assert imported(folder, "17_cp1252.csv", "--encoding", "cp1252") == {"u1.wav": "don't go", "u2.wav": "café €"}
    run("data", "import", folder, folder / "data", "--encoding", "cp1253x", status=2)


def test_utf_16_is_read(folder: Path) -> None:
    for encoding in ("utf-16", "utf-16le", "utf-16be"):
        (folder / "a.csv").write_bytes("path\ttext\r\nu1.wav\tcafé don\u2019t\r\n".encode(encoding))
        assert imported(folder, "a.csv") == {"u1.wav": "café don't"}


@pytest.fixture
def kaldi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A copy of a field case, seen from the folder that its wav.scp is relative to."""
    (tmp_path / "inputs").mkdir()
    shutil.copy(CASES / "go.wav", tmp_path / "inputs" / "go.wav")
    shutil.copytree(CASES / request.param, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return Path("data")


@pytest.mark.parametrize("kaldi", ["22_kaldi_bom"], indirect=True)
def test_a_byte_order_mark_is_shown_and_mended(kaldi: Path) -> None:
    told = run("check", kaldi, status=1).out
    assert "data/text:1: begins with a byte-order mark (U+FEFF); UTF-8 without it; run" in told
    assert "wrote text: 3 lines (text:1 begins with a byte-order mark" in run("check", kaldi, "--fix").err
    assert (kaldi / "text").read_bytes() == b"u1 go\nu2 go\nu3 go\n"


@pytest.mark.parametrize("kaldi", ["22_kaldi_bom"], indirect=True)
def test_a_table_in_utf_16_is_one_problem(kaldi: Path) -> None:
    (kaldi / "text").write_bytes("u1 go\nu2 go\nu3 go\n".encode("utf-16"))
    told = run("check", kaldi, status=1).out
    assert "data/text: is UTF-16; UTF-8; convert it: iconv -f UTF-16 -t UTF-8 'data/text' > new" in told


@pytest.mark.parametrize("kaldi", ["23_segments_to_end"], indirect=True)
def test_segments_may_end_with_their_recording_or_a_little_later(kaldi: Path) -> None:
    told = run("check", kaldi, status=1).out
    assert "data/segments:3: utterance 'u3' (inputs/go.wav) ends at 9 s, beyond the end of its recording" in told
    assert "data/segments:1" not in told
    (kaldi / "segments").write_text("u1 r1 0.0 -1\nu2 r1 0.1 0.5\nu3 r1 0.5 1.8\n")
    told = run("check", kaldi).out
    assert "warning: data/segments:3: utterance 'u3' (inputs/go.wav) ends at 1.8 s; it is cut at the end of" in told
    assert "0.40 / 0.85 / 1.35 s" in told  # durations, min / median / max
    run("data", "copy", kaldi, "copied")
    assert Path("copied/segments").read_text() == "u1 r1 0 -1\nu2 r1 0.1 0.5\nu3 r1 0.5 1.8\n"


@pytest.mark.parametrize("kaldi", ["24_mixed_unicode"], indirect=True)
def test_letters_and_apostrophes_in_two_forms_are_a_warning(kaldi: Path) -> None:
    told = run("check", kaldi).out
    assert "warning: data/text: has letters with accents in 2 forms: NFC in line 2, NFD in line 1; one form" in told
    assert "warning: data/text: has apostrophes in 2 forms: ' (U+0027) in line 3, \u2019 (U+2019) in line 3" in told
