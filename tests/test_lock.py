"""One process writes to a folder at a time; a dead one holds nothing."""

import errno
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recitative import atomic
from recitative.atomic import one_writer, one_writer_of_model, require_writer, waiting_for, writes
from recitative.errors import RunError

HOLD = """
import sys, time
from pathlib import Path
from recitative.atomic import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_told_which_one_writes_and_a_killed_one_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLD, "exp"]  # a long path would be shortened in the message
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError) as error, one_writer(tmp_path / "exp"):
            pass
        assert str(error.value) == (
            f"{tmp_path / 'exp'}: process {other.pid} on {platform.node()} (-c exp) is writing to it; "
            "wait until it ends, stop it, or choose another folder"
        )
        other.send_signal(signal.SIGKILL)
        other.wait()
        with one_writer(tmp_path / "exp"):
            pass
    assert not (tmp_path / "exp" / ".lock").exists()


def test_a_folder_is_made_and_what_was_made_for_nothing_is_removed(tmp_path):
    with one_writer(tmp_path / "exp" / "a"):
        (tmp_path / "exp" / "a" / "text").write_text("")
    with pytest.raises(ValueError, match="no"), one_writer(tmp_path / "exp" / "b" / "c"):
        raise ValueError("no")
    assert [path.name for path in (tmp_path / "exp").iterdir()] == ["a"]


def test_the_writer_of_a_folder_sweeps_what_a_killed_one_left(tmp_path):
    (tmp_path / ".settings.yaml.1234.partial").write_text("half")
    with one_writer(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def refuse_a_writer_of_model(model, found):
    with pytest.raises(RunError, match=found), one_writer_of_model(model):
        pass


def test_the_writer_of_a_model_is_the_writer_of_its_experiment(tmp_path):
    (tmp_path / "exp" / "model").mkdir(parents=True)
    (tmp_path / "exp" / "checkpoint").mkdir()
    with one_writer(tmp_path / "exp"):
        refuse_a_writer_of_model(tmp_path / "exp" / "model", "exp: process")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with one_writer_of_model(tmp_path / "a"), one_writer_of_model(tmp_path / "b"):
        refuse_a_writer_of_model(tmp_path / "a", "a: process")
    with one_writer_of_model(tmp_path / "nowhere" / "model"):  # whose loading says what is missing
        assert not (tmp_path / "nowhere").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "exp"]


def test_a_function_can_be_the_one_writer_of_its_argument(tmp_path):
    @writes("folder")
    def write(number, folder):
        if number:
            write(number - 1, folder=folder)
        return number

    assert write(0, tmp_path) == 0
    with pytest.raises(RunError, match="is writing to it"):
        write(1, tmp_path)


def test_a_run_whose_folder_was_removed_and_taken_by_another_does_not_write_into_it(tmp_path):
    folder = tmp_path / "exp"
    with one_writer(folder):
        require_writer(folder)
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / ".lock").write_text("process 1234 on another machine")
        with pytest.raises(RunError, match="was removed or replaced"):
            require_writer(folder)
    assert (folder / ".lock").exists()  # it is the other one's
    require_writer(folder)  # this process does not say that it is its writer


def test_writers_of_a_file_of_results_wait_for_each_other(tmp_path):
    """Without waiting, rows that were read before another's were written would be lost."""
    path = tmp_path / "results.jsonl"
    add = (
        "import sys; from pathlib import Path; from recitative.score.results import record\n"
        "from recitative.score.results import ResultRow\n"
        "for n in range(10): record([ResultRow(sys.argv[2], str(n), '-', 'x', 1.0)], Path(sys.argv[1]), None)"
    )
    both = [subprocess.Popen([sys.executable, "-c", add, str(path), name]) for name in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    rows = {(row["model"], row["set"]) for row in map(json.loads, path.read_text().splitlines())}
    assert rows == {(model, str(number)) for model in "ab" for number in range(10)}
    assert os.listdir(tmp_path) == ["results.jsonl"]


def test_a_file_system_without_locks_is_named_and_written_to(tmp_path, monkeypatch, capsys):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", no_locks)
    with one_writer(tmp_path / "exp"), waiting_for(tmp_path / "exp" / "results.jsonl"):
        require_writer(tmp_path / "exp")
        (tmp_path / "exp" / "text").write_text("")
    assert capsys.readouterr().err.splitlines()[0] == (
        f"warning: {tmp_path / 'exp'}: its file system has no locks; let no other process write to it"
    )


def test_every_training_is_the_one_writer_of_its_folder_and_marks_its_checkpoints():
    modules = (Path(__file__).resolve().parents[1] / "pipeline" / "recitative").rglob("*.py")
    trainings = [text for text in map(Path.read_text, modules) if "from recitative.train.loop import fit\n" in text]
    assert len(trainings) == 1  # all kinds of models are trained by it
    for text in trainings:
        assert "from recitative.atomic import" in text, text[:80]
        assert re.search(r" fit\([^)]*(\([^)]*\)[^)]*)*digest=", text), text[:80]
