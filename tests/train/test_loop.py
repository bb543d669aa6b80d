"""The training loop on a task small enough to reason about: fit a line through points."""

import json
import os
import resource
import signal
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from recitative.config import TrainSettings
from recitative.errors import DataError, RunError, UsageError
from recitative.train.checkpoint import Checkpoints, Progress, WeightAverage, average_weights, learning_rate
from recitative.train.log import Console
from recitative.train.loop import fit
from recitative.train.task import Batch, Task

CPU = torch.device("cpu")
SETTINGS = TrainSettings(epochs=4, learning_rate=0.05, warmup_steps=3, checkpoint_every_steps=3, keep_top_k=2)


@dataclass(frozen=True)
class Points(Batch):
    x: torch.Tensor
    y: torch.Tensor
    names: tuple[str, ...]
    seconds: float = 1.0
    padded_s: float = 1.25
    longest_s: float = 0.25

    @property
    def rows(self):
        return len(self.x)

    def split(self, parts):
        pieces = zip(self.x.tensor_split(parts), self.y.tensor_split(parts), strict=True)
        return [replace(self, x=x, y=y) for x, y in pieces if len(x)]


class LineTask(Task):
    """Fit y = 2 x + 1 with a network that has dropout, so that random numbers matter."""

    def __init__(self, spoil=()):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.spoil = set(spoil)  # (epoch, batch) whose loss is NaN
        self.interrupt_at = None
        self.seen = []

    def num_batches(self, epoch):
        return 5

    def batches(self, epoch, start):
        for number in range(start, 5):
            generator = torch.Generator().manual_seed(epoch * 100 + number)
            x = torch.rand(6, 1, generator=generator)
            y = x * 2 + 1 + (float("nan") if (epoch, number) in self.spoil else 0.0)
            self.seen.append((epoch, number))
            if len(self.seen) == self.interrupt_at:
                os.kill(os.getpid(), signal.SIGTERM)
            yield Points(x, y, (f"utt-{epoch}-{number}",))

    def loss(self, batch):
        return (self.network(batch.x) - batch.y).square().sum(), len(batch.x)

    def evaluate(self):
        x = torch.linspace(0, 1, 11)[:, None]
        error = float((self.network(x) - (2 * x + 1)).square().mean())
        return {"dev_loss": error, "score": error}


def run(task, folder, settings=SETTINGS, **options):
    return fit(task, settings, folder, device=CPU, console=Console(quiet=True), **options)


def stop(folder, step, settings=SETTINGS):
    """A run that is asked to stop in this step."""
    task = LineTask()
    task.interrupt_at = step
    with pytest.raises(RunError, match=f"stopped at step {step}; run the same command again"):
        run(task, folder, settings)


def weights(task):
    return {name: value.clone() for name, value in task.network.state_dict().items()}


def assert_same_weights(task, other):
    for name, value in weights(other).items():
        assert torch.equal(weights(task)[name], value), name


def log_of(folder, event):
    lines = (json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def test_a_run_learns_and_logs_every_step_and_epoch(tmp_path):
    task = LineTask()
    progress = run(task, tmp_path, replace_settings(epochs=40))
    assert progress.finished
    assert progress.step == 200
    assert progress.best[0][0] < 0.1
    assert [line["step"] for line in log_of(tmp_path, "step")] == list(range(1, 201))
    assert len(log_of(tmp_path, "epoch")) == 40


def replace_settings(**changes):
    return SETTINGS.model_copy(update=changes)


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5, 7, 19])
def test_a_run_stopped_at_any_step_and_resumed_ends_in_the_same_weights(tmp_path, stop_after):
    undisturbed = LineTask()
    run(undisturbed, tmp_path / "a")
    stop(tmp_path / "b", stop_after)
    resumed = LineTask()
    run(resumed, tmp_path / "b")
    assert resumed.seen[0] == divmod(stop_after, 5)  # goes on with the very next batch
    assert_same_weights(resumed, undisturbed)
    assert [line["step"] for line in log_of(tmp_path / "b", "step")] == list(range(1, 21))
    losses = [[line["loss"] for line in log_of(tmp_path / folder, "step")] for folder in "ab"]
    assert losses[0] == losses[1]


def test_an_epoch_that_was_logged_when_the_run_was_killed_before_its_checkpoint_is_logged_once(tmp_path, monkeypatch):
    """Its last step has a checkpoint of its own, after which nothing of the log is dropped."""

    class Killed(BaseException):
        pass

    def die_at_the_end_of_an_epoch(checkpoints, network, optimiser, average, progress):
        if progress.epoch == 1:
            raise Killed
        save(checkpoints, network, optimiser, average, progress)

    save, settings = Checkpoints.save, replace_settings(checkpoint_every_steps=5)
    monkeypatch.setattr(Checkpoints, "save", die_at_the_end_of_an_epoch)
    with pytest.raises(Killed):
        run(LineTask(), tmp_path, settings)
    monkeypatch.undo()
    assert [line["epoch"] for line in log_of(tmp_path, "epoch")] == [0]
    run(LineTask(), tmp_path, settings)
    assert [line["epoch"] for line in log_of(tmp_path, "epoch")] == [0, 1, 2, 3]


def test_a_checkpoint_of_other_settings_is_refused_and_one_that_does_not_say_is_taken(tmp_path):
    run(LineTask(), tmp_path / "a", replace_settings(epochs=1), digest="of these")
    with pytest.raises(UsageError, match=r"^.*latest\.pt: is the checkpoint of a run with other settings or .*$"):
        run(LineTask(), tmp_path / "a", replace_settings(epochs=2), digest="of others")
    stop(tmp_path / "b", 3)
    content = torch.load(tmp_path / "b" / "checkpoint" / "latest.pt", weights_only=True)
    del content["settings"]  # as older versions wrote it
    torch.save(content, tmp_path / "b" / "checkpoint" / "latest.pt")
    assert run(LineTask(), tmp_path / "b", digest="of these").step == 20
    with pytest.raises(UsageError, match="other settings"):
        run(LineTask(), tmp_path / "b", digest="of others")


def test_a_finished_run_that_is_started_again_reads_no_data_and_touches_none_of_its_files(tmp_path):
    run(LineTask(), tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (1, 1))
    again = LineTask()
    run(again, tmp_path)
    assert again.seen == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == files
    assert {path.stat().st_mtime for path in files} == {1}


def test_a_run_that_is_killed_without_warning_resumes_from_its_last_checkpoint(tmp_path):
    undisturbed = LineTask()
    run(undisturbed, tmp_path / "a")

    class Killed(BaseException):
        pass

    class KilledTask(LineTask):
        def loss(self, batch):
            if batch.names == ("utt-1-3",):
                raise Killed
            return super().loss(batch)

    with pytest.raises(Killed):
        run(KilledTask(), tmp_path / "b")
    resumed = LineTask()
    run(resumed, tmp_path / "b")
    assert_same_weights(resumed, undisturbed)
    assert [line["step"] for line in log_of(tmp_path / "b", "step")] == list(range(1, 21))


def test_a_step_with_nan_is_skipped_and_counted(tmp_path):
    task = LineTask(spoil=[(0, 2), (2, 4)])
    progress = run(task, tmp_path)
    assert progress.skipped == 2
    skipped = [line["step"] for line in log_of(tmp_path, "step") if line["skipped"]]
    assert skipped == [3, 15]
    assert all(bool(value.isfinite().all()) for value in weights(task).values())


def test_nan_that_persists_stops_the_run_and_names_the_utterances(tmp_path):
    task = LineTask(spoil=[(1, 1), (1, 2), (1, 3)])
    with pytest.raises(RunError, match=r"3 steps in a row.*utt-1-1, utt-1-2, utt-1-3; listen to these"):
        run(task, tmp_path, replace_settings(max_bad_steps=3))


def test_gradients_are_clipped_to_the_norm_and_the_norm_is_logged(tmp_path):
    class Steep(LineTask):
        def loss(self, batch):
            loss, count = super().loss(batch)
            return loss * 1e6, count

    run(Steep(), tmp_path, replace_settings(clip_norm=1.0))
    steps = log_of(tmp_path, "step")
    assert all(line["clipped"] and line["grad_norm"] > 1.0 for line in steps)


def test_patience_ends_a_run_that_no_longer_gains(tmp_path):
    class Stuck(LineTask):
        def evaluate(self):
            return {"dev_loss": 1.0, "score": 1.0}

    progress = run(Stuck(), tmp_path, replace_settings(epochs=30, patience=3))
    assert (progress.epoch, progress.finished) == (4, True)


def test_only_the_best_epochs_stay_on_disk(tmp_path):
    scores = iter([0.5, 0.3, 0.4, 0.6])

    class Scripted(LineTask):
        def evaluate(self):
            value = next(scores)
            return {"dev_loss": value, "score": value}

    progress = run(Scripted(), tmp_path)
    assert progress.best == [[0.3, 1.0], [0.4, 2.0]]
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == [
        "epoch-0001.safetensors",
        "epoch-0002.safetensors",
    ]


def test_a_damaged_checkpoint_is_named(tmp_path):
    run(LineTask(), tmp_path, replace_settings(epochs=1))
    (tmp_path / "checkpoint" / "latest.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"latest.pt: cannot be resumed from"):
        run(LineTask(), tmp_path)


def test_a_checkpoint_with_the_names_of_release_0_1_goes_on(tmp_path):
    network = nn.ModuleDict({"normalize": nn.BatchNorm1d(2)})
    optimizer, average = torch.optim.SGD(network.parameters()), WeightAverage(network, 0.9)
    kept = Checkpoints(tmp_path)
    kept.save(network, optimizer, average, Progress())
    content = torch.load(kept.latest, weights_only=True)
    for part in ("network", "average"):
        content[part] = {name.replace("normalize", "normalise"): 2.0 + x for name, x in content[part].items()}
    torch.save(content, kept.latest)
    assert kept.load(network, optimizer, average) == Progress()
    assert network["normalize"].running_mean.tolist() == average.state()["normalize.running_mean"].tolist() == [2, 2]


def test_a_checkpoint_of_another_architecture_is_named_with_what_does_not_fit(tmp_path):
    run(LineTask(), tmp_path, replace_settings(epochs=1))
    before = (tmp_path / "checkpoint" / "latest.pt").read_bytes()
    other = LineTask()
    other.network = nn.Sequential(nn.Linear(1, 9), nn.Dropout(0.2), nn.Linear(9, 1))
    with pytest.raises(DataError, match=r"latest.pt: cannot be resumed from \(.*size mismatch for 0.weight"):
        run(other, tmp_path)
    assert (tmp_path / "checkpoint" / "latest.pt").read_bytes() == before


def test_on_a_full_disk_the_last_checkpoint_stays(tmp_path):
    """The largest file that a process may write stands for the size of the disk."""
    stop(tmp_path, 2)
    before = (tmp_path / "checkpoint" / "latest.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            run(LineTask(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "checkpoint" / "latest.pt").read_bytes() == before
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["latest.pt"]
    run(LineTask(), tmp_path)  # goes on from it


class SmallMemory(LineTask):
    """Has no room for more than so many rows at once."""

    def __init__(self, rows):
        super().__init__()
        self.room = rows

    def loss(self, batch):
        if batch.rows > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        loss, count = super().loss(batch)
        return loss * 1.0, count


@pytest.mark.parametrize(("room", "splits_a_step"), [(6, 0), (3, 1), (2, 2), (1, 3)])  # of 6 rows: 1, 2, 4, 6 parts
def test_a_batch_that_does_not_fit_is_done_in_parts_and_counted(tmp_path, room, splits_a_step):
    progress = run(SmallMemory(room), tmp_path, replace_settings(epochs=2))
    assert progress.splits == 10 * splits_a_step
    assert progress.skipped == 0
    assert [line["splits"] for line in log_of(tmp_path, "step")] == [splits_a_step] * 10


def test_parts_after_a_lack_of_memory_have_the_gradient_of_the_whole(tmp_path):
    losses = []
    for room in (6, 2):
        task = SmallMemory(room)
        task.network = nn.Sequential(nn.Linear(1, 1))  # no dropout
        nn.init.zeros_(task.network[0].weight)
        run(task, tmp_path / str(room), replace_settings(epochs=2))
        losses.append([line["loss"] for line in log_of(tmp_path / str(room), "step")])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-7)


def test_an_example_that_does_not_fit_alone_is_named(tmp_path):
    with pytest.raises(RunError, match=r"utt-0-0 alone do not fit into memory on cpu; lower train.max_duration_s"):
        run(SmallMemory(0), tmp_path)


def test_the_moving_average_is_kept_and_resumed(tmp_path):
    settings = replace_settings(ema=0.9)
    seen = []

    class Watched(LineTask):
        def evaluate(self):
            seen.append(weights(self))
            return super().evaluate()

    task = Watched()
    steps = []
    original = torch.optim.AdamW.step

    def step(self, *arguments):
        result = original(self, *arguments)
        steps.append(weights(task))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        run(task, tmp_path / "a", settings)
    average = {name: value.clone() for name, value in weights(LineTask()).items()}
    for number, after in enumerate(steps, start=1):
        decay = min(0.9, (1 + number) / (10 + number))
        average = {name: decay * value + (1 - decay) * after[name] for name, value in average.items()}
    for name, value in average.items():
        torch.testing.assert_close(seen[-1][name], value, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(weights(task)[name], steps[-1][name])
    stop(tmp_path / "b", 7, settings)
    run(LineTask(), tmp_path / "b", settings)
    kept = [sorted((tmp_path / folder / "epochs").iterdir()) for folder in "ab"]
    assert [path.read_bytes() for path in kept[0]] == [path.read_bytes() for path in kept[1]]


def test_averaging_is_the_mean_of_the_weights(tmp_path):
    progress = run(LineTask(), tmp_path)
    paths = [Checkpoints(tmp_path).epoch_path(int(epoch)) for _, epoch in progress.best]
    singles = [average_weights([path]) for path in paths]
    for name, value in average_weights(paths).items():
        torch.testing.assert_close(value, (singles[0][name] + singles[1][name]) / 2, atol=1e-6, rtol=1e-6)


def test_the_rate_warms_up_and_decays_to_its_final_fraction():
    settings = TrainSettings(epochs=20, learning_rate=0.01, warmup_steps=10, final_lr_fraction=0.1)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(0.001)
    assert learning_rate(settings, 9, 0.0) == pytest.approx(0.01)
    assert learning_rate(settings, 500, 10.0) == pytest.approx(0.01 * (0.1 + 0.9 / 2))
    assert learning_rate(settings, 1000, 20.0) == pytest.approx(0.001)


def test_the_rate_begins_anew_at_a_restart():
    settings = TrainSettings(epochs=30, restarts=(20,), learning_rate=0.01, warmup_steps=0, final_lr_fraction=0.1)
    assert learning_rate(settings, 1, 10.0) == pytest.approx(0.0055)
    assert learning_rate(settings, 1, 19.999) == pytest.approx(0.001, rel=1e-3)
    assert learning_rate(settings, 1, 20.0) == pytest.approx(0.01)
    assert learning_rate(settings, 1, 25.0) == pytest.approx(0.0055)


def test_restarts_beyond_the_run_are_refused():
    with pytest.raises(ValueError, match="must increase and lie between 0 and epochs=10"):
        TrainSettings(epochs=10, restarts=(10,))
