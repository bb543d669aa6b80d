"""Mel frames generated from labels: exact likelihoods, batches, the ONNX graph, training."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import small_corpus
from recitative.config import RecordingsData, load_tree
from recitative.errors import DataError, UsageError
from recitative.kinds import SOUND_KINDS, load_settings_of
from recitative.model.export import build_file
from recitative.model.folder import load_model, save_model
from recitative.model.onnx_stage import open_file
from recitative.sound.conditioning import Labels, SpectrogramSettings, label_conditions
from recitative.sound.generator import OWN_NUMBERS, SPECTROGRAM
from recitative.sound.task import (
    Spectrogram,
    SpectrogramTask,
    frame_losses,
    nats_per_dimension,
    new_spectrogram_model,
    spectrogram_batch,
)
from recitative.stage import Padded
from recitative.train.run import train_model
from resuming import assert_resumes

LABELS = Labels(("one", "two"), ("ann", "bob"), (0.1, 0.12))
SMALL = [
    "kind=spectrogram", "features.sample_rate=8000", "features.num_mel_bins=6", "rows=3", "model.width=5",
    "model.recurrent.hidden=7", "model.components=2", "train.epochs=2", "train.warmup_steps=2",
    "train.checkpoint_every_steps=2", "train.threads=1", "train.device=cpu", "train.bf16=false",
]  # fmt: skip


def data_in(folder):
    return RecordingsData(train=folder / "train", dev=folder / "dev")


def settings(*overrides):
    return load_tree(SpectrogramSettings, None, [*SMALL, *overrides])


def model(*overrides, seed=1):
    """In evaluation mode, with weights large enough for every input to matter."""
    torch.manual_seed(seed)
    made = new_spectrogram_model(settings(*overrides), LABELS)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        made.network.normalize.mean.copy_(torch.linspace(-1, 1, 6))
        made.network.normalize.inverse_stddev.copy_(torch.linspace(0.5, 2, 6))
    made.network.eval()
    return made


def spectrogram(frames=9, seed=0, name="r"):
    rng = np.random.default_rng(seed)
    conditioning = label_conditions("two", "ann", 80 * frames, settings().features, LABELS)
    return Spectrogram(name, rng.normal(size=(frames, 6)).astype(np.float32), conditioning, 0.01 * frames)


def stepped(made, frames, conditioning):
    """What the density of each frame is, one at a time: (w (K,), m (K, C), s (K, C)) of the normalized frame."""
    network = made.network
    normal = (torch.from_numpy(frames) - network.normalize.mean) * network.normalize.inverse_stddev
    state, before = network.core.initial_state(1), torch.zeros(6)
    for t in range(len(conditioning)):
        x = torch.cat([network.past(before), network.conditioning(torch.from_numpy(conditioning[t]))])
        h, state = network.core.step(Padded(x[None, None], torch.tensor([1])), state, last=False)
        found = network.density(h.data[0, 0])
        yield found.log_weights.exp(), found.means, found.deviations
        if t < len(frames):
            before = normal[t]


@torch.no_grad()
def test_the_losses_of_a_recording_are_those_of_its_frames_one_by_one():
    made, one = model(), spectrogram()
    normal = (torch.from_numpy(one.frames) - made.network.normalize.mean) * made.network.normalize.inverse_stddev
    expected = []
    for t, (weights, means, deviations) in enumerate(stepped(made, one.frames, one.conditioning)):
        parts = [
            float(w) * math.prod(
                math.exp(-0.5 * ((x - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))
                for x, m, s in zip(normal[t].tolist(), mean.tolist(), deviation.tolist(), strict=True)
            )
            for w, mean, deviation in zip(weights, means, deviations, strict=True)
        ]  # fmt: skip
        expected.append(-math.log(sum(parts)) / 6)
    assert_close(frame_losses(made, spectrogram_batch([one])).tolist(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_rows_of_a_batch_are_the_rows_alone_and_parts_have_the_loss_of_the_whole():
    made = model()
    ones = [spectrogram(n, seed=n, name=f"r{n}") for n in (9, 1, 5)]
    whole = spectrogram_batch(ones)
    alone = torch.cat([frame_losses(made, spectrogram_batch([one])) for one in ones])
    assert_close(frame_losses(made, whole), alone, rtol=1e-4, atol=1e-4)
    task = SpectrogramTask(made, ones, ones, torch.device("cpu"))
    parts = [task.loss(part) for part in whole.split(2)]
    assert_close(sum(loss for loss, _ in parts), task.loss(whole)[0], rtol=1e-5, atol=1e-5)
    assert sum(count for _, count in parts) == 15
    nats, frames = nats_per_dimension(made, ones)
    assert (round(nats, 4), frames) == (round(float(alone.mean()), 4), 15)


def test_an_epoch_holds_every_recording_once_and_goes_on_anywhere():
    ones = [spectrogram(2 + n % 5, seed=n, name=f"r{n}") for n in range(10)]
    batches = SpectrogramTask(model(), ones, ones, torch.device("cpu"))
    for epoch in (0, 1):
        names = [batch.names for batch in batches.batches(epoch, 0)]
        assert len(names) == batches.num_batches(epoch) == 4
        assert sorted(name for group in names for name in group) == sorted(one.name for one in ones)
        assert [batch.names for batch in batches.batches(epoch, 2)] == names[2:]
    assert [batch.names for batch in batches.batches(0, 0)] != names


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@torch.no_grad()
def test_the_graph_samples_from_the_density_of_the_network(components, temperature):
    made = model(f"model.components={components}")
    generator = open_file(build_file(made).SerializeToString(), SPECTROGRAM)
    found = generator.generate("two", "bob", 800, number=4, seed=3, temperature=temperature)
    assert found.shape == (8, 6)
    conditioning = label_conditions("two", "bob", 800, made.settings.features, LABELS)[:8]
    rng = np.random.default_rng([3, 4, OWN_NUMBERS])
    drawn = np.zeros((0, 6), np.float32)
    mean, scale = made.network.normalize.mean.numpy(), made.network.normalize.inverse_stddev.numpy()
    for t in range(8):
        weights, means, deviations = list(stepped(made, drawn, conditioning[: t + 1]))[-1]
        k = int((np.cumsum(weights.numpy()) < rng.random((1, 1), np.float32)[0, 0]).sum())
        normal = means[k].numpy() + temperature * deviations[k].numpy() * rng.standard_normal((1, 6), np.float32)[0]
        drawn = np.concatenate([drawn, (normal / scale + mean)[None].astype(np.float32)])
    np.testing.assert_allclose(found, drawn, rtol=1e-3, atol=1e-4)


def test_the_same_seed_and_number_give_the_same_frames():
    generator = open_file(build_file(model()).SerializeToString(), SPECTROGRAM)
    first = generator.generate("one", "ann", 900)
    np.testing.assert_array_equal(first, generator.generate("one", "ann", 900))
    for others in ({"number": 1}, {"seed": 2}):
        assert (generator.generate("one", "ann", 900, **others) != first).any()
    assert len(generator.generate("one", "ann", 1)) == 1  # a sound shorter than a frame
    with pytest.raises(UsageError, match="speaker 'eve': the model knows ann, bob"):
        generator.generate("one", "eve", 900)


@pytest.fixture
def corpus(tmp_path):
    small_corpus.write_sounds(tmp_path / "train", 8000, seconds=[0.1, 0.15, 0.12, 0.1], text=["one", "two"] * 2)
    small_corpus.write_sounds(tmp_path / "dev", 8000, seconds=[0.1], text=["one"])
    return tmp_path


def test_a_run_stopped_in_mid_epoch_ends_in_the_same_weights(corpus):
    assert_resumes(SPECTROGRAM, settings("rows=1"), data_in(corpus), corpus, SpectrogramTask, stop_at=7)


def test_a_trained_model_knows_its_labels_and_how_long_they_are(corpus):
    run = train_model(SPECTROGRAM, settings(), data_in(corpus), corpus / "exp", quiet=True)
    made = load_model(run.folder, SPECTROGRAM)
    assert made.labels.texts == ("one", "two")
    np.testing.assert_allclose(made.labels.seconds, [0.11, 0.125])
    save_model(made, corpus / "again")
    assert load_model(corpus / "again", SPECTROGRAM).labels == made.labels


def test_recordings_that_cannot_be_used_are_named(corpus):
    with pytest.raises(DataError, match=r"8000 Hz; 16000 Hz \(features.sample_rate\)"):
        train_model(SPECTROGRAM, settings("features.sample_rate=16000"), data_in(corpus), corpus / "exp", quiet=True)


def test_a_conf_of_another_kind_is_named(tmp_path):
    (tmp_path / "conf.yaml").write_text("kind: choir\n")
    with pytest.raises(UsageError, match=r"kind='choir': must be one of 'sound' \(sound model\), 'spectrogram'"):
        load_settings_of(tmp_path / "conf.yaml", [], SOUND_KINDS)
    with pytest.raises(UsageError, match=r"a spectrogram needs features.kind=fbank"):
        settings("features.delta_order=1")
