"""The batches of an epoch: which utterances they have, and that they do not depend on who loads them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch

from recitative.asr.data import Labels, RecognitionDataset
from recitative.data.directory import DataDirectory
from recitative.data.shards import write_shards
from recitative.errors import DataError
from recitative.features.extraction import CmvnStats, audio_durations_s
from recitative.train.audio import BatchLoader, BatchSampler, rank_shard

AUGMENT = {"speeds": [0.9, 1.0, 1.1], "volume_db": [-6, 6], "spec_augment": {"freq_masks": 1, "freq_width": 2}}


def training_set(folder, config, path=None, **options):
    paths = tiny.write_inputs(folder, config)
    mean = CmvnStats.read(paths["cmvn"]).mean
    data = DataDirectory.read(path or paths["train"])
    return RecognitionDataset(data, config, tiny.TOKENS, mean, paths["train"], **options)


def seconds_of(count, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 12.0, count)


def assert_same(ours, theirs):
    assert ours.names == theirs.names
    assert torch.equal(ours.features.data, theirs.features.data)
    assert torch.equal(ours.labels.data, theirs.labels.data)


def test_no_utterance_is_drawn_faster_than_it_may_be():
    settings = tiny.settings(augment=AUGMENT)
    fastest = np.where(np.arange(300) % 3 == 0, 1.0, 1.1)
    free, bound = (BatchSampler(seconds_of(300), settings, fastest=limit).epoch(0) for limit in (None, fastest))
    np.testing.assert_array_equal(bound.speeds, np.minimum(free.speeds, fastest))
    assert (bound.speeds != free.speeds).any()


def test_what_is_too_short_for_its_text_at_a_speed_is_not_drawn_at_it(tmp_path):
    """Each utterance with as many labels as it has frames at its own speed."""
    config = tiny.settings(augment=AUGMENT)
    paths = tiny.write_inputs(tmp_path, config)
    data = DataDirectory.read(paths["train"])
    front_end, features = config.model.front_end, config.features
    seconds = audio_durations_s(data.utterances, features.sample_rate)
    frames = [front_end.num_output_frames(features.num_frames(round(s * features.sample_rate) - 2)) for s in seconds]
    full = data.with_utterances(
        replace(u, text=("ab" * count)[:count]) for u, count in zip(data.utterances, frames, strict=True)
    )
    made = RecognitionDataset(full, config, tiny.TOKENS, CmvnStats.read(paths["cmvn"]).mean, paths["train"])
    for epoch in range(4):
        assert set(made.sampler.epoch(epoch).speeds) <= {0.9, 1.0}
        for numbers in made.sampler.epoch(epoch).batches:
            batch = made.load(epoch, numbers)
            for length, labels in zip(batch.features.lengths.tolist(), batch.labels.lengths.tolist(), strict=True):
                assert front_end.num_output_frames(length) >= labels
    longer = data.with_utterances(
        replace(u, text=("ab" * count)[: 2 * count]) for u, count in zip(data.utterances, frames, strict=True)
    )
    with pytest.raises(DataError, match=r"frames at speed 0.9 for \d+ labels; at least \d+"):
        RecognitionDataset(longer, config, tiny.TOKENS, CmvnStats.read(paths["cmvn"]).mean, paths["train"])


def test_what_is_trimmed_keeps_a_frame_for_every_label(tmp_path):
    """Only the loudest frame would remain."""
    config = tiny.settings(augment={"trim_db": [0, 0]})
    made = training_set(tmp_path, config)
    for batch in BatchLoader(made).batches(0, 0):
        for frames, labels in zip(batch.features.lengths.tolist(), batch.labels.lengths.tolist(), strict=True):
            assert config.model.front_end.num_output_frames(frames) >= labels


def test_an_epoch_has_every_utterance_once_in_an_order_of_its_own():
    plans = [BatchSampler(seconds_of(300), tiny.settings()).epoch(epoch) for epoch in (0, 1, 1)]
    for plan in plans:
        assert sorted(np.concatenate(plan.batches).tolist()) == list(range(300))
    first, second, again = ([batch.tolist() for batch in plan.batches] for plan in plans)
    assert first != second
    assert second == again


def test_no_batch_is_longer_than_its_limit_with_padding_and_speed():
    settings = tiny.settings(augment=AUGMENT, train={"batch_s": 30.0})
    plan = BatchSampler(seconds_of(300), settings).epoch(0)
    played_s = seconds_of(300) / plan.speeds
    for batch in plan.batches:
        assert len(batch) == 1 or len(batch) * played_s[batch].max() <= 30.0


def test_speeds_are_drawn_evenly_and_anew_for_each_epoch():
    settings = tiny.settings(augment=AUGMENT)
    first, second = (BatchSampler(seconds_of(3000), settings).epoch(epoch).speeds for epoch in (0, 1))
    counts = [int((first == speed).sum()) for speed in (0.9, 1.0, 1.1)]
    assert sum(counts) == 3000
    assert all(abs(count - 1000) < 4 * 26 for count in counts)  # binomial: sqrt(3000 * 1/3 * 2/3) = 26
    assert not np.array_equal(first, second)


def test_little_of_a_batch_is_padding_and_neighbors_change_between_epochs():
    settings = tiny.settings(train={"batch_s": 60.0})
    plans = [BatchSampler(seconds_of(2000), settings).epoch(epoch) for epoch in (0, 1)]
    padded_s = sum(len(batch) * seconds_of(2000)[batch].max() for batch in plans[0].batches)
    assert 1 - seconds_of(2000).sum() / padded_s < 0.06
    together = [{frozenset(pair) for b in plan.batches for pair in pairwise(b)} for plan in plans]
    assert len(together[0] & together[1]) < 0.2 * len(together[0])


def test_in_the_first_epochs_the_shortest_come_first_if_asked_for():
    settings = tiny.settings(train={"batch_s": 60.0, "short_first_epochs": 1})
    rising, mixed = (
        [seconds_of(300)[batch].max() for batch in BatchSampler(seconds_of(300), settings).epoch(epoch).batches]
        for epoch in (0, 1)
    )
    assert rising == pytest.approx(sorted(rising), rel=0.1), "but for the blur of the lengths"
    assert mixed != pytest.approx(sorted(mixed), rel=0.1)


def test_shards_are_mixed_only_so_many_at_a_time():
    shards = np.arange(200) % 10
    settings = tiny.settings(train={"batch_s": 30.0, "shuffle_shards": 3})
    plan = BatchSampler(seconds_of(200), settings, shards).epoch(0)
    read = [frozenset(shards[batch].tolist()) for batch in plan.batches]
    windows = [frozenset().union(*read[: end + 1]) for end in range(len(read))]
    assert len(set().union(*read)) == 10
    first_window = windows[-1] - windows[-1] | next(w for w in reversed(windows) if len(w) <= 3)
    assert len(first_window) == 3
    assert sorted(np.concatenate(plan.batches).tolist()) == list(range(200))
    assert BatchSampler(seconds_of(200), settings, shards).epoch(1).batches[0].tolist() != plan.batches[0].tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_shares_of_all_workers_are_the_batch_and_as_many_for_each(size):
    plan = BatchSampler(seconds_of(100), tiny.settings(train={"batch_s": 20.0})).epoch(0)
    for batch in plan.batches:
        shares = [rank_shard(batch, rank, size) for rank in range(size)]
        assert sorted(np.concatenate(shares).tolist()) == sorted(batch.tolist())
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_where_the_epoch_was_entered_or_who_made_them(tmp_path, workers):
    config = tiny.settings(augment=AUGMENT, train={"epochs": 3, "batch_s": 3.0, "workers": workers})
    batches = training_set(tmp_path, config)
    whole = [batches.load(1, numbers) for numbers in batches.sampler.epoch(1).batches]
    entered = list(BatchLoader(batches).batches(1, 2))
    assert len(entered) == len(whole) - 2 > 0
    for ours, theirs in zip(entered, whole[2:], strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_over_the_end_of_an_epoch_and_can_be_entered_anew(tmp_path, workers):
    config = tiny.settings(augment=AUGMENT, train={"epochs": 3, "batch_s": 3.0, "workers": workers})
    batches = training_set(tmp_path, config)
    loader = BatchLoader(batches)
    for epoch, start in ((0, 0), (1, 0), (2, 1), (0, 1)):
        made = list(loader.batches(epoch, start))
        wanted = [batches.load(epoch, numbers) for numbers in batches.sampler.epoch(epoch).batches[start:]]
        assert len(made) == len(wanted)
        for ours, theirs in zip(made, wanted, strict=True):
            assert_same(ours, theirs)


def test_augmentation_changes_from_epoch_to_epoch(tmp_path):
    batches = training_set(tmp_path, tiny.settings(augment=AUGMENT))
    first, second = (batches.load(epoch, np.array([0])).features.data for epoch in (0, 1))
    assert first.shape != second.shape or not torch.equal(first, second)


def test_shards_give_the_same_batches_as_the_directory_they_were_made_of(tmp_path):
    config = tiny.settings(augment=AUGMENT)
    from_directory = training_set(tmp_path, config)
    write_shards(DataDirectory.read(tmp_path / "train" / "data"), tmp_path / "shards", shard_s=2.0)
    from_shards = training_set(tmp_path, config, tmp_path / "shards")
    for numbers in from_directory.sampler.epoch(0).batches:
        assert_same(from_shards.load(0, numbers), from_directory.load(0, numbers))


def test_a_share_of_nothing_is_a_batch_without_rows(tmp_path):
    batch = training_set(tmp_path, tiny.settings()).load(0, np.array([], int))
    assert (batch.rows, batch.seconds, batch.padded_s) == (0, 0.0, 0.0)
    assert batch.split(1) == batch.split(4) == []


def test_the_parts_of_a_batch_are_its_rows_without_needless_padding(tmp_path):
    batch = training_set(tmp_path, tiny.settings(), teach=True).load(0, np.arange(7))
    parts = batch.split(3)
    assert sorted(name for part in parts for name in part.names) == sorted(batch.names)
    assert [part.rows for part in parts] == [3, 2, 2]
    for part in parts:
        assert part.features.data.shape[1] == int(part.features.lengths.max())
        for row, name in enumerate(part.names):
            whole = batch.names.index(name)
            length = int(part.features.lengths[row])
            assert length == int(batch.features.lengths[whole])
            assert torch.equal(part.features.data[row, :length], batch.features.data[whole, :length])
            assert torch.equal(part.unmasked.data[row, :length], batch.unmasked.data[whole, :length])
            count = int(part.labels.lengths[row])
            assert part.labels.data[row, :count].tolist() == batch.labels.data[whole, :count].tolist()


def test_labels_in_one_array_are_the_lists_they_were():
    rows = [[1, 2], [], [3], [4, 5, 6]]
    labels = Labels(rows)
    assert [labels[i] for i in range(len(labels))] == rows
