"""Labels, their weights, mixed recordings, and the batches made of them."""

from dataclasses import replace

import numpy as np
import pytest
import tones
import torch

from recitative.audio.files import write_wav
from recitative.classification.task import (
    ClassificationDataset,
    MixupPairs,
    class_weights,
    load_scored_set,
    mixup,
    mixup_pairs,
    names_of,
    random_crop,
)
from recitative.data.directory import DataDirectory
from recitative.data.frames import least_samples
from recitative.errors import DataError, UsageError
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.train.sampler import BatchLoader

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
    least = least_samples(made.settings.features, made.settings.model.front_end)
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
    whole, pieces = training_set(data), training_set(data, "piece_s=0.1")
    batches = [pieces.load(0, numbers) for numbers in pieces.sampler.epoch(0).batches]
    assert all(int(batch.features.lengths.max()) == 20 for batch in batches)  # of 5 ms
    assert sum(batch.rows for batch in batches) == len(data.utterances)
    assert len(batches) == 2 < len(whole.sampler.epoch(0).batches)  # 18 recordings of 0.1 s, 1.5 s in a batch


def test_before_a_recording_come_the_ends_of_others_and_it_stays_at_the_end_of_its_row(data):
    alone, after = training_set(data), training_set(data, "context_s=0.8")
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
    with pytest.raises(UsageError, match=r"piece_s=0\.004: must be 0, for whole recordings, or at least 0\.015 s"):
        training_set(data, "piece_s=0.004")


def test_the_classes_are_the_labels_of_the_training_set_in_order(data):
    assert names_of(data.utterances, (), "train") == ("high", "low", "middle")
    assert names_of(data.utterances, ("middle", "low", "high"), "train") == ("middle", "low", "high")


@pytest.mark.parametrize(("wanted", "message"), [
    (("high", "low", "middle", "silence"), "train: has no example of the class 'silence'; add recordings of it"),
    (("high", "low"), r"'s0-middle-0': has the label 'middle', which is none of the model's; high, low.*and 5 more"),
])  # fmt: skip
def test_wanted_classes_and_labels_that_do_not_fit_are_named(data, wanted, message):
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


def test_recordings_that_are_too_short_or_too_long_are_named_all_at_once(data, tmp_path):
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


def test_a_dev_label_that_the_model_does_not_know_is_named(data):
    with pytest.raises(
        DataError, match=r"dev/text: 's0-high-0': has the label 'high'.*; low, middle; correct it, or train"
    ):
        load_scored_set(data, tones.classifier(labels=("low", "middle")), "dev")


def test_another_sample_rate_is_refused(data):
    other = replace(tones.classifier(), settings=tones.settings("features.sample_rate=8000"))
    with pytest.raises(DataError, match=r"4000 Hz; 8000 Hz \(features.sample_rate\)"):
        load_scored_set(data, other, "dev")
