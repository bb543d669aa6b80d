"""Files and folders are there whole or not at all, and what killed processes left is swept."""

import errno
import multiprocessing
import os
import signal

import pytest

from recitative import atomic
from recitative.atomic import hold, let_go, recover_folder, replacing, replacing_folder, sweep, update_text, write_text


@pytest.fixture(params=["exchanged", "renamed aside"])
def system(request, monkeypatch):
    """One that can exchange folders, and one that cannot, such as a network's file system."""
    if request.param == "renamed aside":
        monkeypatch.setattr(atomic, "_rename_exchange", lambda new, old: False)
    return request.param


def write_model(folder, content):
    with replacing_folder(folder) as partial:
        (partial / "weights").write_text(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path, system):
    for content in ("first", "second", "third"):
        write_model(tmp_path / "model", content)
        assert (tmp_path / "model" / "weights").read_text() == content
        assert names(tmp_path) == ["model"]


def test_a_folder_whose_writing_fails_stays_as_it_was(tmp_path, system):
    write_model(tmp_path / "model", "old")
    with pytest.raises(TypeError):
        write_model(tmp_path / "model", 1)
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path, system):
    write_text(tmp_path / "model", "a file")
    with pytest.raises(NotADirectoryError):
        write_model(tmp_path / "model", "new")
    assert (tmp_path / "model").read_text() == "a file"
    assert names(tmp_path) == ["model"]


def test_a_folder_is_replaced_where_a_link_to_it_points(tmp_path, system):
    write_model(tmp_path / "real", "old")
    (tmp_path / "model").symlink_to("real")
    write_model(tmp_path / "model", "new")
    assert (tmp_path / "real" / "weights").read_text() == "new"
    assert (tmp_path / "model").is_symlink()


def test_a_folder_whose_writer_died_between_two_renames_is_put_back_by_a_reader(tmp_path):
    write_model(tmp_path / "model", "old")
    (tmp_path / "model").rename(tmp_path / ".model.before")
    recover_folder(tmp_path / "model")
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_reader_who_puts_a_folder_back_does_not_stop_its_writer(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_rename_exchange", lambda new, old: False)
    write_model(tmp_path / "model", "old")
    rename, calls = type(tmp_path).rename, []

    def rename_beside_a_reader(path, target):
        rename(path, target)
        calls.append(path.name)
        if calls == ["model"]:
            recover_folder(tmp_path / "model")

    monkeypatch.setattr(type(tmp_path), "rename", rename_beside_a_reader)
    write_model(tmp_path / "model", "new")
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_a_text_that_is_there_already_is_not_touched(tmp_path):
    update_text(tmp_path / "settings.yaml", "a: 1\n")
    os.utime(tmp_path / "settings.yaml", (1, 1))
    update_text(tmp_path / "settings.yaml", "a: 1\n")
    assert (tmp_path / "settings.yaml").stat().st_mtime == 1
    update_text(tmp_path / "settings.yaml", "a: 2\n")
    assert (tmp_path / "settings.yaml").read_text() == "a: 2\n"


def test_what_dead_processes_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    for name in (".latest.pt.4711.partial", ".tmpAb3dEf", "a.partial", ".tmp", ".hidden"):
        (tmp_path / name).write_text("left")
    (tmp_path / ".model.0123abcd.partial").mkdir()
    (tmp_path / ".model.0123abcd.partial" / "weights").write_text("left")
    with replacing(tmp_path / "text") as text, replacing_folder(tmp_path / "living") as living:
        text.write_text("whole")
        (living / "weights").write_text("whole")
        sweep(tmp_path, tmp_path / "nowhere")
        assert names(tmp_path) == sorted([".hidden", ".tmp", "a.partial", text.name, living.name])
    assert (tmp_path / "text").read_text() == "whole"
    assert (tmp_path / "living" / "weights").read_text() == "whole"


def test_what_a_killed_process_left_beside_an_output_is_removed_by_the_next_that_writes_there(tmp_path):
    for name in (".a.0123abcd.partial", ".other.partial", ".tmpabc123"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".b.0123abcd.partial").mkdir()
    held = hold(tmp_path / ".c.0123abcd.partial")
    write_text(tmp_path / "new", "whole")
    let_go(held)
    assert names(tmp_path) == [".c.0123abcd.partial", ".other.partial", ".tmpabc123", "new"]


def test_where_there_are_no_locks_files_are_written_and_nothing_is_swept(tmp_path, monkeypatch):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic.fcntl, "flock", no_locks)
    write_text(tmp_path / "text", "whole")
    write_model(tmp_path / "model", "whole")
    (tmp_path / ".other.0123abcd.partial").write_text("perhaps alive")
    sweep(tmp_path)
    assert names(tmp_path) == [".other.0123abcd.partial", "model", "text"]


def test_a_forked_process_does_not_hold_what_its_killed_parent_held(tmp_path):
    def hold_and_fork(ready):
        hold(tmp_path / "lock")
        if os.fork() == 0:
            ready.put(os.getpid())
            signal.pause()
        signal.pause()

    context = multiprocessing.get_context("fork")
    ready = context.SimpleQueue()
    process = context.Process(target=hold_and_fork, args=(ready,))
    process.start()
    child = ready.get()
    with pytest.raises(BlockingIOError):
        hold(tmp_path / "lock")
    process.kill()
    process.join()
    try:
        let_go(hold(tmp_path / "lock"))
    finally:
        os.kill(child, signal.SIGKILL)
