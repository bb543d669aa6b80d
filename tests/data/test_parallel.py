"""Parallel work: results in order, no piece is lost with a worker that dies, a piece that kills workers is named."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from numpy.testing import assert_array_equal

import parallel_work
import small_corpus
from command_line import run
from recitative import pretrained
from recitative.config import FeatureSettings
from recitative.data.directory import DataDirectory
from recitative.data.parallel import AHEAD, Engine, parallel_map
from recitative.data.shards import write_shards
from recitative.errors import DataError, RunError, UsageError
from recitative.features.extraction import extract


@pytest.fixture(scope="module")
def ray() -> Iterator[ModuleType]:
    """A cluster of one core on this machine, joined."""
    ray = pytest.importorskip("ray", reason="needs ray, of the extra 'cluster'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers import parallel_work
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture(params=["in this process", "processes", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("ray")
        return Engine("ray", 2)
    return Engine("local", 1 if request.param == "in this process" else 2)


@pytest.fixture(params=["processes", "ray"])
def workers(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("ray")
        return Engine("ray", 2)
    return Engine("local", 2)


def test_results_come_in_the_order_of_the_pieces(engine: Engine) -> None:
    told: list[int] = []
    pieces = [5, 1, 4, 1, 3, 2, 0]
    results = list(parallel_map(parallel_work.wait_and_square, pieces, engine, advance=told.append))
    assert results == [piece * piece for piece in pieces]
    assert told == [1, 2, 3, 4, 5, 6, 7]


def test_no_pieces_are_no_results(engine: Engine) -> None:
    assert list(parallel_map(parallel_work.wait_and_square, [], engine)) == []


def test_no_more_pieces_are_taken_than_keep_the_workers_busy(engine: Engine) -> None:
    taken = 0

    def pieces() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield 0

    results = parallel_map(parallel_work.wait_and_square, pieces(), engine)
    for count in range(1, 4):
        next(results)
        assert taken <= AHEAD * engine.jobs + count
    results.close()


def test_an_error_arrives_as_it_was_raised_after_the_results_before_it(engine: Engine) -> None:
    results = parallel_map(parallel_work.fail_at_two, range(6), engine)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError) as raised:
        next(results)
    assert type(raised.value) is DataError
    assert raised.value.problems == parallel_work.PROBLEMS
    assert str(raised.value) == "data/text:3: is empty (and 1 more)"


def test_a_wrong_argument_arrives_with_its_exit_status(workers: Engine) -> None:
    with pytest.raises(UsageError, match=r"^--beam: is 0$") as raised:
        list(parallel_map(parallel_work.refuse, [1], workers))
    assert raised.value.exit_code == 2


def test_a_bug_arrives_with_the_traceback_of_its_worker(workers: Engine) -> None:
    with pytest.raises(KeyError) as raised:
        list(parallel_map(parallel_work.look_up, ["where"], workers))
    assert "in look_up" in raised.value.__notes__[0]


def test_state_of_the_work_stays_in_its_process(workers: Engine) -> None:
    counts = list(parallel_map(parallel_work.Counter(), range(6), workers))
    assert max(counts) >= 3  # six pieces, two processes


def test_the_piece_of_a_killed_worker_is_done_again(workers: Engine, tmp_path: Path) -> None:
    results = list(parallel_map(partial(parallel_work.write_but_die_first, tmp_path, 2), range(5), workers))
    assert results == [0, 1, 2, 3, 4]
    assert (tmp_path / "2.died").exists()
    written = {path.name: path.read_text() for path in tmp_path.glob("*.txt")}
    assert written == {f"{i}.txt": f"piece {i}" for i in range(5)}


def test_a_piece_that_kills_two_workers_is_named(workers: Engine) -> None:
    results = parallel_map(
        partial(parallel_work.die_at, 2), range(5), workers, name=lambda piece: f"utterances of part {piece}"
    )
    assert [next(results), next(results)] == [0, 1]
    allowed = "SIGKILL|WorkerCrashedError"
    with pytest.raises(RunError, match=rf"^utterances of part 2: its worker died 2 times \(({allowed})\), perhaps for"):
        next(results)


def test_a_failed_piece_does_not_stop_the_others_if_the_caller_handles_failures(engine: Engine) -> None:
    results = parallel_map(parallel_work.fail_at_two, range(4), engine, failed=lambda piece, error: f"{piece}: {error}")
    assert list(results) == [0, 1, "2: data/text:3: is empty (and 1 more)", 3]


def test_a_piece_that_kills_two_workers_costs_no_other(workers: Engine) -> None:
    results = parallel_map(partial(parallel_work.die_at, 1), range(4), workers, failed=lambda piece, error: str(error))
    first, died, *rest = results
    assert (first, rest) == (0, [2, 3])
    assert str(died).startswith("1: its worker died 2 times (")


def test_an_error_that_cannot_be_sent_arrives_by_name(workers: Engine) -> None:
    with pytest.raises(RuntimeError, match=r"^UnsendableError: of no use: 7"):
        list(parallel_map(parallel_work.raise_unsendable, [7], workers))


def test_a_caller_that_has_enough_leaves_no_process_and_no_half_written_file(tmp_path: Path) -> None:
    results = parallel_map(partial(parallel_work.write_for_ever, tmp_path), [0, 1, 1], Engine("local", 2))
    first = next(results)
    while not list(tmp_path.iterdir()):
        threading.Event().wait(0.01)
    results.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_joined_cluster_is_not_left(ray: ModuleType) -> None:
    assert list(parallel_map(parallel_work.wait_and_square, [3], Engine("ray", 0))) == [9]
    assert ray.is_initialized()


def test_relative_paths_mean_on_the_cluster_what_they_mean_here(
    ray: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.txt").write_text("found")
    monkeypatch.chdir(tmp_path)
    assert list(parallel_map(parallel_work.read, ["here.txt"], Engine("ray", 1))) == ["found"]


def test_features_and_text_of_a_cluster_are_those_of_one_process(ray: ModuleType, tmp_path: Path) -> None:
    data = small_corpus.make_corpus(tmp_path)
    directory, settings = DataDirectory.read(data), FeatureSettings(sample_rate=small_corpus.RATE)
    for (_, alone), (_, together) in zip(
        extract(directory, settings), extract(directory, settings, Engine("ray", 0)), strict=True
    ):
        assert_array_equal(alone, together)
    model = pretrained.find(pretrained.STREAMING)
    for engine in ("local", "ray"):
        run("decode", model, data, "--output", tmp_path / engine, "--engine", engine)
    for name in ("text", "words.jsonl", "tokens.jsonl"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "ray" / name).read_bytes()


def test_shards_of_a_cluster_have_the_bytes_of_those_written_here(ray: ModuleType, tmp_path: Path) -> None:
    directory = DataDirectory.read(small_corpus.make_corpus(tmp_path))
    for engine in (Engine(), Engine("ray", 0)):
        write_shards(directory, tmp_path / engine.kind, shard_s=1.0, engine=engine)
    local, cluster = (sorted((tmp_path / kind).iterdir()) for kind in ("local", "ray"))
    assert [path.name for path in local] == [path.name for path in cluster]
    assert len(local) > 2
    assert [path.read_bytes() for path in local] == [path.read_bytes() for path in cluster]


def test_a_missing_cluster_is_reported_in_one_line(ray: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(
            RunError, match=rf"^Ray cluster '{address}': cannot be joined \(.*refused\); a running cluster"
        ):
            list(parallel_map(parallel_work.wait_and_square, [1], Engine("ray", 1, address)))


def test_without_the_package_ray_the_command_line_says_what_to_install(tmp_path: Path) -> None:
    arguments = ["features", str(small_corpus.make_corpus(tmp_path)), str(tmp_path / "features"), "--engine", "ray"]
    program = f"import sys; sys.modules['ray'] = None; sys.argv[1:] = {arguments}"
    program += "; from recitative.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "the package 'ray', which is not installed; pip install ray, or leave out" in done.stderr
    assert done.returncode == 2
