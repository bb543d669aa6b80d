"""Training a classifier: its loss by hand, exact resume, what it reaches, what it refuses."""

import os
import signal

import numpy as np
import pytest
import tones
import torch
from torch.testing import assert_close

from recitative.classification.kind import CLASSIFIER, ClassifierData
from recitative.classification.task import ClassificationDataset, ClassificationTask, load_scored_set
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RunError, UsageError
from recitative.features.cmvn import CmvnStats
from recitative.model.folder import load_model
from recitative.train.run import train_model

CPU = torch.device("cpu")
LABELS = ("high", "low", "middle")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    return tones.write_corpus(folder / "train", each=4, seed=1), tones.write_corpus(folder / "dev", each=2, seed=2)


def train(corpus, folder, *overrides, **options):
    data = ClassifierData(train=corpus[0], dev=corpus[1], **options)
    return train_model(CLASSIFIER, tones.settings(*overrides), data, folder, quiet=True)


def weights_of(folder):
    return load_model(folder, CLASSIFIER).network.state_dict()


@pytest.mark.parametrize("overrides", [(), ("mixup.alpha=0.4",), ("class_weights=balanced", "mixup.alpha=1.0")])
def test_the_loss_is_that_of_each_recording_by_hand(corpus, overrides):
    data = DataDirectory.read(corpus[0]).where(lambda u: u.utt_id != "s0-low-0")  # classes of 8, 7 and 8
    made = tones.classifier(*overrides, "labels=[high, low, middle]")
    examples = ClassificationDataset(data, made.settings, np.zeros(8, np.float32), "train")
    task = ClassificationTask(made, examples, [], CPU)
    batch = examples.load(0, np.array([0, 7, 12, 20]))
    loss, count = task.loss(batch)
    counts = torch.bincount(torch.from_numpy(examples.labels))
    weight = 23 / (3 * counts) if "class_weights=balanced" in overrides else torch.ones(3)
    expected = 0.0
    for row in range(4):
        length = int(batch.features.lengths[row])
        alone = type(batch.features)(batch.features.data[row : row + 1, :length], torch.tensor([length]))
        probabilities = made.log_probs(alone)[0].double().exp()
        for label, share in ((batch.labels[row], batch.shares[row]), (batch.others[row], 1 - batch.shares[row])):
            expected += float(share) * float(weight[label]) * -float(probabilities[label].log())
    assert count == 4
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_dev_scores_are_those_of_the_labels_and_accuracy_decides_before_loss(corpus):
    made = tones.classifier("labels=[high, low, middle]")
    examples = ClassificationDataset(DataDirectory.read(corpus[0]), made.settings, np.zeros(8, np.float32), "train")
    dev = load_scored_set(DataDirectory.read(corpus[1]), made, corpus[1])
    scores = ClassificationTask(made, examples, dev, CPU).evaluate()
    right = nats = total = 0
    for batch in dev:
        log_probs = made.log_probs(batch.features)
        right += int((log_probs.argmax(1) == batch.labels).sum())
        nats += float(sum(-row[label] for row, label in zip(log_probs, batch.labels, strict=True)))
        total += batch.rows
    assert scores["dev_accuracy"] == right / total
    assert scores["dev_loss"] == pytest.approx(nats / total, rel=1e-5)
    assert scores["dev_uar"] == pytest.approx(right / total)  # all classes have as many recordings
    assert 0 < scores["score"] - (total - right) / total < 0.5 / total  # less than half an error, however bad the loss


def test_without_a_dev_set_the_last_epoch_is_kept_though_an_earlier_one_scored_better(corpus, tmp_path):
    spoiled = (
        "train.epochs=4",
        "train.learning_rate=3.0",
        "train.warmup_steps=0",
    )  # a rate that ruins what was learned
    chosen = train(corpus, tmp_path / "chosen", *spoiled)
    last = train((corpus[0], None), tmp_path / "last", *spoiled)
    assert last.progress.best == [[-3.0, 3.0]]
    assert chosen.progress.best[0][1] < 3
    checkpoint = torch.load(tmp_path / "last" / "checkpoint" / "latest.pt", weights_only=True)
    assert_close(dict(weights_of(last.folder)), dict(checkpoint["network"]), rtol=0, atol=0)


def test_patience_needs_a_dev_set(corpus, tmp_path):
    with pytest.raises(UsageError, match=r"train\.patience=2: waits for better scores on a dev set; give one"):
        train((corpus[0], None), tmp_path, "train.patience=2")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
def test_tones_are_learned(corpus, tmp_path, pooling):
    done = train(corpus, tmp_path, "train.epochs=6", "train.learning_rate=0.02", f"model.pooling={pooling}")
    model = load_model(done.folder, CLASSIFIER)
    assert model.labels == LABELS
    dev = load_scored_set(DataDirectory.read(corpus[1]), model, corpus[1])
    assert all(bool((model.log_probs(batch.features).argmax(1) == batch.labels).all()) for batch in dev)


def test_a_run_that_was_stopped_ends_in_the_same_bits(corpus, tmp_path, monkeypatch):
    extra = ("mixup.alpha=0.4", "augment.speeds=[0.9, 1.1]", "model.dropout=0.2")
    whole = train(corpus, tmp_path / "whole", *extra)
    loss, steps = ClassificationTask.loss, []

    def interrupted(task, batch):
        steps.append(batch)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(task, batch)

    monkeypatch.setattr(ClassificationTask, "loss", interrupted)
    with pytest.raises(RunError, match="stopped at step 3"):
        train(corpus, tmp_path / "parts", *extra)
    monkeypatch.undo()
    parts = train(corpus, tmp_path / "parts", *extra)
    assert parts.progress.step == whole.progress.step > 3
    assert_close(weights_of(parts.folder), weights_of(whole.folder), atol=0, rtol=0)


def test_a_folder_of_another_run_is_refused(corpus, tmp_path):
    train(corpus, tmp_path, "train.epochs=1")
    with pytest.raises(UsageError, match="holds a run with other settings"):
        train(corpus, tmp_path, "train.epochs=1", "model.pooling=last")
    with pytest.raises(UsageError, match="holds a run with other settings"):
        train(corpus, tmp_path, "train.epochs=1", "labels=[middle, low, high]")


def test_the_normalisation_is_the_training_sets_or_that_of_a_file(corpus, tmp_path):
    made = train(corpus, tmp_path / "own", "train.epochs=1")
    features = [batch.features for batch in load_scored_set(DataDirectory.read(corpus[0]), tones.classifier(), "train")]
    frames = torch.cat([row[:n] for x in features for row, n in zip(x.data, x.lengths, strict=True)]).double()
    normalise = load_model(made.folder, CLASSIFIER).network.stages["normalise"]
    assert_close(normalise.mean.double(), frames.mean(0), atol=1e-4, rtol=1e-5)
    assert_close(1 / normalise.inverse_stddev.double(), frames.std(0, correction=0), atol=1e-4, rtol=1e-4)
    CmvnStats(np.full(8, 20.0), np.full(8, 58.0), 10.0).write(tmp_path / "cmvn")  # mean 2, variance 1.8
    made = train(corpus, tmp_path / "given", "train.epochs=1", cmvn=tmp_path / "cmvn")
    normalise = load_model(made.folder, CLASSIFIER).network.stages["normalise"]
    assert_close(normalise.mean, torch.full((8,), 2.0))
    assert_close(normalise.inverse_stddev, torch.full((8,), 1.8**-0.5))


def test_statistics_of_other_features_are_refused(corpus, tmp_path):
    CmvnStats.of(np.ones((3, 5))).write(tmp_path / "cmvn")
    with pytest.raises(DataError, match="cmvn: holds 5 channels; 8, as the features of these settings"):
        train(corpus, tmp_path / "exp", cmvn=tmp_path / "cmvn")


def test_several_workers_are_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"^a classifier is trained by one worker; run it without torchrun$"):
        train(corpus, tmp_path)
