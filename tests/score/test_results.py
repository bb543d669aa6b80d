"""The results file and its Markdown table."""

import dataclasses
import subprocess

import pytest

from recitative.errors import DataError
from recitative.score.results import (
    COLUMNS,
    MARKER,
    ResultRow,
    append_results,
    describe_commit,
    describe_machine,
    read_results,
    settings_hash,
    write_markdown,
)

ROW = ResultRow(
    "blstm", "test", "greedy", "%WER", 5.0, "39 / 773", "run.sh | tee log", "abc1234", "0f0f0f0f", 12.345, "CPU"
)


def test_the_columns_are_those_of_the_design():
    expected = "model | set | decoding | metric | value | counts | command | commit | settings | seconds | machine"
    assert " | ".join(COLUMNS) == expected


def test_a_newer_row_takes_the_place_of_the_older_one_and_others_stay(tmp_path):
    path = tmp_path / "exp" / "results.jsonl"
    other = dataclasses.replace(ROW, set="dev")
    append_results(path, [ROW, other])
    newer = dataclasses.replace(ROW, value=4.5, commit="def5678")
    assert append_results(path, [newer]) == [newer, other]
    assert read_results(path) == [newer, other]
    assert [entry.name for entry in path.parent.iterdir()] == ["results.jsonl"]


def test_a_damaged_results_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "results.jsonl"
    append_results(path, [ROW])
    damaged = path.read_text() + '{"model": "x"\n'
    path.write_text(damaged)
    with pytest.raises(DataError, match=r"results.jsonl:2: is not JSON"):
        append_results(path, [ROW])
    assert path.read_text() == damaged


def test_the_table_shows_every_column_and_escapes_bars(tmp_path):
    path = tmp_path / "RESULTS.md"
    other = dataclasses.replace(ROW, metric="nats per frame", value=8.4321, seconds=None, command="-")
    write_markdown(path, [ROW, other])
    lines = path.read_text().splitlines()
    assert lines[lines.index(MARKER) + 1] == "| " + " | ".join(COLUMNS) + " |"
    assert lines[-2] == (
        "| blstm | test | greedy | %WER | 5.00 | 39 / 773 | `run.sh \\| tee log` | abc1234 | 0f0f0f0f | 12.3 | CPU |"
    )
    assert "| nats per frame | 8.432 | 39 / 773 | - |" in lines[-1]


def test_what_a_person_wrote_before_and_after_the_table_is_kept(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(f"# AN4\n\nBy hand.\n\n{MARKER}\n| old |\n|---|\n| 1 |\n\nAfterwards.\n")
    write_markdown(path, [ROW])
    once = path.read_text()
    assert once.startswith(f"# AN4\n\nBy hand.\n\n{MARKER}\n| model |")
    assert once.endswith("|\n\nAfterwards.\n")
    assert "old" not in once
    write_markdown(path, [ROW])
    assert path.read_text() == once


def test_a_file_without_marker_gets_it_at_the_end(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Notes")
    write_markdown(path, [ROW])
    assert path.read_text().startswith(f"# Notes\n\n{MARKER}\n| model |")


def git(directory, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_is_dirty_after_a_change_of_a_tracked_file_other_than_the_results(tmp_path):
    assert describe_commit(tmp_path) == "-"
    (tmp_path / "recipes").mkdir()
    for name in ("code.py", "recipes/RESULTS.md"):
        (tmp_path / name).write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = describe_commit(tmp_path / "recipes")
    assert clean.isalnum()
    (tmp_path / "recipes/RESULTS.md").write_text("2")
    (tmp_path / "untracked").write_text("2")
    assert describe_commit(tmp_path / "recipes") == clean
    (tmp_path / "code.py").write_text("2")
    assert describe_commit(tmp_path / "recipes") == f"{clean}-dirty"


def test_machine_and_settings_are_short(tmp_path):
    assert describe_machine().endswith(("core", "cores"))
    assert settings_hash("a: 1\n") == settings_hash("a: 1\n") != settings_hash("a: 2\n")
    assert len(settings_hash("")) == 8
