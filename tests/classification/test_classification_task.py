"""Training a classifier: labels, weights, mixup, batches, the loss by hand, exact resume, accuracy, and errors."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import tones
import torch
from torch.testing import assert_close

from recitative.audio.files import write_wav
from recitative.classification.classifier import CLASSIFIER, ClassifierData
from recitative.classification.task import (
    ClassificationDataset,
    ClassificationTask,
    MixupPairs,
    class_weights,
    load_scored_set,
    mixup,
    mixup_pairs,
    names_of,
    random_crop,
)
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RunError, UsageError
from recitative.features.extraction import CmvnStats, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.model.folder import load_model
from recitative.train.audio import BatchLoader
from recitative.train.run import train_model

AUGMENT = ["augment.speeds=[0.9, 1.1]", "augment.volume_db=[-6, 6]", "augment.spec_augment.time_masks=1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return DataDirectory.read(tones.write_corpus(tmp_path_factory.mktemp("tones")))


def training_set(data, *overrides):
    settings = tones.settings(*overrides, "labels=[high, low, middle]")
    return ClassificationDataset(data, settings, np.zeros(8, np.float32), "train")


def test_a_batch_holds_the_features_and_labels_of_its_recordings(data):
    batch = training_set(data).load(0, np.array([5, 0]))
    assert batch.names == (data.utterances[5].utt_id, data.utterances[0].utt_id)
    assert [("high", "low", "middle")[label] for label in batch.labels] == [data.utterances[i].text for i in (5, 0)]
    extractor = FeatureExtractor(tones.settings().features)
    for row, number in enumerate((5, 0)):
        expected = extractor.compute(read_utterance(data.utterances[number]))
        np.testing.assert_array_equal(batch.features.data[row, : len(expected)], expected)
        assert batch.features.lengths[row] == len(expected)
    assert torch.equal(batch.others, batch.labels)
    assert torch.equal(batch.shares, torch.ones(2))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_where_the_epoch_was_entered_or_who_made_them(data, workers):
    made = training_set(data, *AUGMENT, "mixup.alpha=0.4", f"train.workers={workers}")
    whole = [made.load(1, numbers) for numbers in made.sampler.epoch(1).batches]
    entered = list(BatchLoader(made).batches(1, 1))
    assert len(entered) == len(whole) - 1 > 0
    for ours, theirs in zip(entered, whole[1:], strict=True):
        assert ours.names == theirs.names
        assert torch.equal(ours.features.data, theirs.features.data)
        assert torch.equal(ours.shares, theirs.shares)
        assert torch.equal(ours.others, theirs.others)


def test_the_parts_of_a_batch_are_its_rows_with_their_partners(data):
    batch = training_set(data, "mixup.alpha=0.4").load(0, np.arange(7))
    parts = batch.split(3)
    assert [part.rows for part in parts] == [3, 2, 2]
    for part in parts:
        assert part.features.data.shape[1] == int(part.features.lengths.max())
        for row, name in enumerate(part.names):
            whole = batch.names.index(name)
            assert (part.labels[row], part.others[row]) == (batch.labels[whole], batch.others[whole])
            assert part.shares[row] == batch.shares[whole]


def test_a_mixed_recording_is_what_the_shares_say():
    rows = [np.array([[1.0], [2.0], [3.0]]), np.array([[10.0], [20.0]])]
    longer, shorter = mixup(rows, MixupPairs(np.array([1, 0]), np.array([0.75, 0.5])))
    np.testing.assert_allclose(longer, [[3.25], [6.5], [4.75]])  # the shorter one begins again
    np.testing.assert_allclose(shorter, [[5.5], [11.0]])


def test_without_mixup_every_recording_is_itself_to_the_bit(data):
    rows = [np.random.default_rng(i).normal(size=(4, 2)).astype(np.float32) for i in range(3)]
    for mixed, row in zip(mixup(rows, mixup_pairs(3, 0.0, np.random.default_rng(0))), rows, strict=True):
        np.testing.assert_array_equal(mixed, row)


def test_shares_come_from_the_beta_distribution_and_partners_from_all_rows():
    drawn = [mixup_pairs(50, 0.4, np.random.default_rng(seed)) for seed in range(200)]
    shares = np.concatenate([pairs.shares for pairs in drawn])
    assert abs(shares.mean() - 0.5) < 0.02  # Beta(a, a): mean 1/2,
    assert abs(shares.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.01  # variance 1 / (4 (2 a + 1))
    assert all(sorted(pairs.partners) == list(range(50)) for pairs in drawn)


def test_balanced_weights_make_all_classes_count_the_same():
    numbers = np.array([0] * 6 + [1] * 3 + [2])
    weights = class_weights(numbers, 3, balanced=True)
    np.testing.assert_allclose([(numbers == k).sum() * weights[k] for k in range(3)], 10 / 3, rtol=1e-6)
    assert weights[numbers].mean() == pytest.approx(1.0)
    np.testing.assert_array_equal(class_weights(numbers, 3, balanced=False), np.ones(3))


@pytest.mark.parametrize("front_end", [("window=5", "stride=5"), ("kind=conv",)], ids=["stack", "conv"])
def test_the_shortest_recording_has_one_frame_and_one_sample_less_has_none(front_end):
    made = tones.classifier(*(f"model.front_end.{setting}" for setting in front_end))
    least = made.settings.model.front_end.least_samples(made.settings.features)
    extractor = FeatureExtractor(made.settings.features)
    frames = [torch.tensor(extractor.output_lengths(np.array([n]))) for n in (least, least - 1)]
    assert [int(made.network.output_lengths(n)) for n in frames] == [1, 0]


def test_a_piece_is_drawn_from_anywhere_in_a_recording():
    frames = np.arange(10)[:, None]
    drawn = [random_crop(frames, 4, np.random.default_rng(seed))[:, 0] for seed in range(200)]
    assert all(len(piece) == 4 and np.array_equal(np.diff(piece), np.ones(3)) for piece in drawn)
    assert {int(piece[0]) for piece in drawn} == set(range(7))
    for longest in (0, 10, 11):
        np.testing.assert_array_equal(random_crop(frames, longest, np.random.default_rng(0)), frames)


def test_no_row_of_a_batch_is_longer_than_a_piece_and_batches_are_filled_with_pieces(data):
    whole, pieces = training_set(data), training_set(data, "crop_s=0.1")
    batches = [pieces.load(0, numbers) for numbers in pieces.sampler.epoch(0).batches]
    assert all(int(batch.features.lengths.max()) == 20 for batch in batches)  # of 5 ms
    assert sum(batch.rows for batch in batches) == len(data.utterances)
    assert len(batches) == 2 < len(whole.sampler.epoch(0).batches)  # 18 recordings of 0.1 s, 1.5 s in a batch


def test_before_a_recording_come_the_ends_of_others_and_it_stays_at_the_end_of_its_row(data):
    alone, after = training_set(data), training_set(data, "left_context_s=0.8")
    numbers, kept = np.arange(len(data.utterances)), []
    whole, batch = alone.load(0, numbers), after.load(0, numbers)
    ends = whole.features.data, whole.features.lengths
    assert torch.equal(batch.labels, whole.labels)
    for row, length in enumerate(whole.features.lengths.tolist()):
        end = int(batch.features.lengths[row])
        recording = whole.features.data[row, :length]
        assert torch.equal(batch.features.data[row, end - length : end], recording)
        kept.append(end - length)
        if kept[-1]:  # what stands right before is the end of some recording
            last = batch.features.data[row, end - length - 1]
            assert any(torch.equal(last, x[n - 1]) for x, n in zip(*ends, strict=True))
    assert 0 <= min(kept) < 40 < 120 < max(kept) <= 160  # frames of 5 ms
    third = batch.features.data[3, : int(batch.features.lengths[3])]
    assert torch.equal(after.load(0, numbers[3:4]).features.data[0], third), "a row does not depend on its batch"
    assert not torch.equal(after.load(1, numbers).features.lengths, batch.features.lengths)
    assert len(after.sampler.epoch(0).batches) > len(alone.sampler.epoch(0).batches)


def test_a_piece_without_a_frame_of_the_network_is_refused(data):
    with pytest.raises(UsageError, match=r"crop_s=0\.004: must be 0, for whole recordings, or at least 0\.015 s"):
        training_set(data, "crop_s=0.004")


def test_the_classes_are_the_labels_of_the_training_set_in_order(data):
    assert names_of(data.utterances, (), "train") == ("high", "low", "middle")
    assert names_of(data.utterances, ("middle", "low", "high"), "train") == ("middle", "low", "high")


@pytest.mark.parametrize(("wanted", "message"), [
    (("high", "low", "middle", "silence"), "train: has no example of the class 'silence'; add recordings of it"),
    (("high", "low"), r"'s0-middle-0': has the label 'middle', which is none of the model's; high, low.*and 5 more"),
])  # fmt: skip
def test_labels_that_do_not_match_the_settings_are_refused(data, wanted, message):
    with pytest.raises(DataError, match=message):
        names_of(data.utterances, wanted, "train")


def test_a_single_class_and_a_missing_label_are_refused(data):
    low = data.where(lambda u: u.text == "low")
    with pytest.raises(DataError, match="train: has a single class, 'low'; two or more"):
        names_of(low.utterances, (), "train")
    with pytest.raises(DataError, match="train/text: 's0-low-0': has no label; one of high, low, middle; add it"):
        names_of(tones.changed(data, "s0-low-0", text=None).utterances, (), "train")
    with pytest.raises(DataError, match="train/text: 's0-low-0': has no label; add it"):
        names_of(tones.changed(low, "s0-low-0", text=None).utterances[:1], (), "train")


def test_recordings_that_are_too_short_or_too_long_are_reported_all_at_once(data, tmp_path):
    write_wav(tmp_path / "short.wav", np.zeros(62, np.float32), tones.RATE)  # 60 samples have a frame, 60 * 1.1 not
    write_wav(tmp_path / "long.wav", np.zeros(5 * tones.RATE, np.float32), tones.RATE)
    bad = tones.changed(data, "s0-low-0", recording_path=str(tmp_path / "short.wav"))
    bad = tones.changed(bad, "s1-low-0", recording_path=str(tmp_path / "long.wav"))
    with pytest.raises(DataError) as caught:
        training_set(bad, *AUGMENT, "train.max_duration_s=4")
    short, long = map(str, caught.value.problems)
    assert short.startswith("train: utterance 's0-low-0': lasts 0.0155 s, at speed 1.1; at least 0.015 s, one frame")
    assert long == "train: utterance 's1-low-0': lasts 5.0 s; at most train.max_duration_s=4; cut it or raise the limit"
    load_scored_set(bad, tones.classifier(), "dev")  # as it is, the short one has a frame, and no limit is set


def test_a_dev_label_that_the_model_does_not_know_is_refused(data):
    with pytest.raises(
        DataError, match=r"dev/text: 's0-high-0': has the label 'high'.*; low, middle; correct it, or train"
    ):
        load_scored_set(data, tones.classifier(labels=("low", "middle")), "dev")


def test_another_sample_rate_is_refused(data):
    other = replace(tones.classifier(), settings=tones.settings("features.sample_rate=8000"))
    with pytest.raises(DataError, match=r"4000 Hz; 8000 Hz \(features.sample_rate\)"):
        load_scored_set(data, other, "dev")


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


def test_a_run_cannot_be_continued_with_other_labels(corpus, tmp_path):
    train(corpus, tmp_path, "train.epochs=1")
    with pytest.raises(UsageError, match="holds a run with other settings"):
        train(corpus, tmp_path, "train.epochs=1", "labels=[middle, low, high]")


def test_the_normalization_is_the_training_sets_or_that_of_a_file(corpus, tmp_path):
    made = train(corpus, tmp_path / "own", "train.epochs=1")
    features = [batch.features for batch in load_scored_set(DataDirectory.read(corpus[0]), tones.classifier(), "train")]
    frames = torch.cat([row[:n] for x in features for row, n in zip(x.data, x.lengths, strict=True)]).double()
    normalize = load_model(made.folder, CLASSIFIER).network.stages["normalize"]
    assert_close(normalize.mean.double(), frames.mean(0), atol=1e-4, rtol=1e-5)
    assert_close(1 / normalize.inverse_stddev.double(), frames.std(0, correction=0), atol=1e-4, rtol=1e-4)
    CmvnStats(np.full(8, 20.0), np.full(8, 58.0), 10.0).write(tmp_path / "cmvn")  # mean 2, variance 1.8
    made = train(corpus, tmp_path / "given", "train.epochs=1", cmvn=tmp_path / "cmvn")
    normalize = load_model(made.folder, CLASSIFIER).network.stages["normalize"]
    assert_close(normalize.mean, torch.full((8,), 2.0))
    assert_close(normalize.inverse_stddev, torch.full((8,), 1.8**-0.5))


def test_statistics_of_other_features_are_refused(corpus, tmp_path):
    CmvnStats.of(np.ones((3, 5))).write(tmp_path / "cmvn")
    with pytest.raises(DataError, match="cmvn: holds 5 channels; 8, as the features of these settings"):
        train(corpus, tmp_path / "exp", cmvn=tmp_path / "cmvn")
