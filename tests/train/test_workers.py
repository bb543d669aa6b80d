"""Several workers: the same gradients as one, and nothing lost when one of them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from torch.testing import assert_close

from recitative.asr.kind import RECOGNIZER
from recitative.config import RecognizerData, TrainSettings, dump_settings
from recitative.train.run import train_model

ROOT = Path(__file__).resolve().parents[2]
AUGMENT = {"speeds": [0.9, 1.0, 1.1], "spec_augment": {"freq_masks": 1, "freq_width": 2}}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def config(**train):
    """No dropout, whose places depend on the worker; float32, since bfloat16 rounds by the thousandth."""
    return tiny.settings(
        augment=AUGMENT,
        model={"front_end": {"window": 4, "stride": 4}, "recurrent": {"layers": 2, "hidden": 12}},
        train={"epochs": 4, "batch_s": 4.0, "workers": 0, "threads": 1, "device": "cpu", "warmup_steps": 2,
               "bf16": False, "checkpoint_every_steps": 2} | train,
    )  # fmt: skip


def options(folder, settings, output, **paths):
    (folder / "conf.yaml").write_text(dump_settings(settings))
    given = {"conf": folder / "conf.yaml", "output": output} | paths
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT / "pipeline"), "OMP_NUM_THREADS": "1"}


def torchrun(workers, arguments, restarts=0):
    launch = ("--nnodes", "1", "--nproc-per-node", str(workers), "--max-restarts", str(restarts),
              "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}")  # fmt: skip
    return subprocess.Popen(
        [*TORCHRUN, *launch, "-m", "recitative", "train", *arguments],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def finish(process):
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]


def weights(folder):
    return torch.load(folder / "checkpoint" / "latest.pt", weights_only=True)["network"]


def losses(folder):
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == "step"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    return folder, tiny.write_inputs(folder, config(), train=14, dev=2)


@pytest.fixture(scope="module")
def alone(corpus):
    folder, paths = corpus
    train_model(RECOGNIZER, config(), RecognizerData(**paths), folder / "alone", quiet=True)
    return folder / "alone"


def test_two_workers_have_the_losses_and_weights_of_one(corpus, alone):
    folder, paths = corpus
    finish(torchrun(2, options(folder, config(), folder / "two", **paths)))
    assert len(losses(folder / "two")) == len(losses(alone)) > 6
    assert_close(losses(folder / "two"), losses(alone), rtol=1e-5, atol=0.0)
    for name, value in weights(alone).items():
        # Adam divides by the gradient's own size: where that is next to nothing, so is what it says of the direction.
        assert_close(weights(folder / "two")[name], value, rtol=1e-4, atol=1e-5)


def test_a_worker_killed_in_mid_epoch_starts_the_run_again_and_it_ends_in_the_same_bits(corpus):
    folder, paths = corpus
    settings = config(epochs=12, checkpoint_every_steps=3)
    finish(torchrun(2, options(folder, settings, folder / "undisturbed", **paths)))
    process = torchrun(2, options(folder, settings, folder / "killed", **paths), restarts=3)
    wait_for_steps(folder / "killed", 5, process)
    os.kill(worker_of(process, rank=1), signal.SIGKILL)
    finish(process)
    assert losses(folder / "killed") == losses(folder / "undisturbed")
    for name, value in weights(folder / "undisturbed").items():
        assert torch.equal(weights(folder / "killed")[name], value), name


def test_a_signal_to_the_whole_group_lets_the_run_stop_cleanly(corpus):
    """As a terminal's ^C or a cluster's scheduler sends it: the processes that prepare batches get it as well."""
    folder, paths = corpus
    settings = config(epochs=200, workers=2)
    process = subprocess.Popen(
        [sys.executable, "-m", "recitative", "train", *options(folder, settings, folder / "group", **paths)],
        env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for_steps(folder / "group", 3, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "stopped at step" in errors, errors[-3000:]
    assert "Traceback" not in errors, errors[-3000:]


def wait_for_steps(folder, count, process):
    until = time.monotonic() + 120
    while not (folder / "train.jsonl").exists() or len(losses(folder)) < count:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.002)


def worker_of(process, rank):
    """The process id of a worker that torchrun has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in map(int, children):
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return pid
    raise AssertionError(f"torchrun has no worker {rank}")


def test_a_run_of_one_worker_goes_on_with_two_over_the_same_data(corpus, alone):
    folder, paths = corpus
    settings = config()
    train_model(RECOGNIZER, settings, RecognizerData(**paths), folder / "moved", quiet=True)
    interrupted = keep_checkpoint(settings, paths, folder, at_step=4)
    finish(torchrun(2, options(folder, settings, interrupted, **paths)))
    assert_close(losses(interrupted), losses(alone), rtol=1e-5, atol=0.0)


def keep_checkpoint(settings, paths, folder, at_step):
    """An experiment as it stood on disk right after a step of a single worker."""
    import shutil

    from recitative.train.checkpoint import Checkpoints

    original, kept = Checkpoints.save, folder / "kept"

    def save_and_copy(self, network, optimiser, average, progress):
        original(self, network, optimiser, average, progress)
        if progress.step == at_step:
            shutil.copytree(self.folder, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_copy)
        train_model(RECOGNIZER, settings, RecognizerData(**paths), folder / "first", quiet=True)
    return kept


def test_workers_that_disagree_about_the_data_are_named_and_none_hangs(corpus):
    folder, paths = corpus
    other = tiny.write_corpus(folder / "other", 9, 7)
    launch = ("--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "x",
              "--rdzv-endpoint", f"localhost:{free_port()}", "--local-addr", "localhost")  # fmt: skip
    processes = [
        subprocess.Popen(
            [*TORCHRUN, *launch, "-m", "recitative", "train",
             *options(folder, config(), folder / f"differ{number}", **paths | {"train": train})],
            env=environment(), stderr=subprocess.PIPE, text=True,
        )
        for number, train in enumerate((paths["train"], other))
    ]  # fmt: skip
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert all(process.returncode for process in processes)
    assert "worker 1 differs from worker 0: utterances" in "".join(errors)


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_gradients_do_not_depend_on_the_number_of_parts(tmp_path, parts):
    """On ragged batches of the real task: 1 x 8, 2 x 4, 4 x 2 and 8 x 1."""
    gradients = {count: gradient_of(tmp_path / str(count), count) for count in (1, parts)}
    for name, value in gradients[1].items():
        assert_close(gradients[parts][name], value, rtol=1e-5, atol=1e-6)


def gradient_of(folder, accumulate):
    from recitative.asr.task import prepare
    from recitative.train.checkpoint import new_optimizer
    from recitative.train.distributed import DistributedContext
    from recitative.train.log import Console
    from recitative.train.loop import StopRequest, train_step
    from recitative.train.run import TrainingRun

    settings, cpu, alone = config(accumulate=accumulate, batch_s=60.0), torch.device("cpu"), DistributedContext()
    paths = RecognizerData(**tiny.write_inputs(folder, settings, train=8))
    task = prepare(settings, paths, TrainingRun(folder / "exp", paths, cpu, alone, Console(quiet=True)))
    batch = next(task.batches(0, 0))
    assert batch.rows == 8
    optimizer = new_optimizer(task.network, settings.train)
    train_step(task, batch, optimizer, settings.train, 0.0, 0, cpu, alone, StopRequest())
    return {name: p.grad for name, p in task.network.named_parameters()}


def test_most_s_says_in_how_many_parts_a_batch_is_computed():
    from dataclasses import dataclass

    from recitative.train.loop import parts_that_fit

    @dataclass
    class Sized:
        longest_s: float
        padded_s: float

    settings = TrainSettings(max_batch_s=((5.0, 100.0), (10.0, 60.0)))
    sizes = [(4.0, 100.0), (4.0, 101.0), (6.0, 100.0), (10.0, 121.0), (20.0, 121.0)]
    assert [parts_that_fit(Sized(*size), settings) for size in sizes] == [1, 2, 2, 3, 3]
    assert parts_that_fit(Sized(20.0, 1000.0), TrainSettings()) == 1
