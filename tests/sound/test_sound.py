"""Sound, sample by sample: conditioning, segments, exact likelihoods, the ONNX graph."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

import small_corpus
from recitative.config import RecordingsData, load_tree
from recitative.errors import DataError, UsageError
from recitative.model.export import build_file
from recitative.model.folder import load_model
from recitative.model.onnx_stage import open_file
from recitative.sound.conditioning import (
    LEVELS,
    MIDDLE,
    PROGRESS,
    Labels,
    LevelDecoder,
    WaveSettings,
    between,
    companded,
    decode,
    emphasize,
    encode,
    label_conditions,
    mel_conditions,
    places_of,
)
from recitative.sound.generator import SOUND
from recitative.sound.task import Recording, WaveTask, dev_batches, new_wave_model, sample_losses, sound_batch
from recitative.stage import Padded
from recitative.train.run import train_model
from resuming import assert_resumes

CPU = torch.device("cpu")
LABELS = Labels(("one", "two"), ("ann", "bob"))
SMALL = [
    "features.sample_rate=8000", "features.num_mel_bins=6", "sound.step=4", "sound.history=6", "sound.context=1",
    "sound.prediction=0",
    "model.condition_width=5", "model.width=7", "model.recurrent.hidden=8", "model.recurrent.projection=6",
    "segments.rows=3", "segments.segment_s=0.01", "segments.noise=0", "train.epochs=2", "train.warmup_steps=2",
    "train.checkpoint_every_steps=2", "train.threads=1", "train.device=cpu", "train.bf16=false",
]  # fmt: skip


def data_in(folder):
    return RecordingsData(train=folder / "train", dev=folder / "dev")


def settings(*overrides):
    return load_tree(WaveSettings, None, [*SMALL, *overrides])


def model(*overrides, seed=1):
    """In evaluation mode, with weights large enough for every input to matter."""
    torch.manual_seed(seed)
    made = settings(*overrides)
    made = new_wave_model(made, LABELS if made.sound.condition == "labels" else Labels())
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    made.network.eval()
    return made


def recording(made, samples=260, seed=0, name="r"):
    rng = np.random.default_rng(seed)
    conditioning = {"none": 0, "mel": 18, "labels": LABELS.width()}[made.sound.condition]
    frames = rng.normal(size=(1 if not conditioning else samples // 80 + 1, conditioning)).astype(np.float32)
    return Recording(name, rng.integers(0, LEVELS, samples).astype(np.uint8), frames)


def slow_losses(made, piece, first, steps):
    """-ln P of each sample, one at a time, from the definitions in the docstrings."""
    sound, network = made.settings.sound, made.network
    codes = np.concatenate([np.full(sound.history, MIDDLE), piece.codes])  # sample s is codes[s + history]
    conditioning = None
    if network.encoder is not None:
        x = Padded(torch.from_numpy(piece.frames[None]), torch.tensor([len(piece.frames)]))
        encoded, _ = network.encoder.step(x, network.encoder.initial_state(1), last=True)
        conditioning = between(encoded.data[0].numpy(), places_of(np.arange(first, first + steps), made.settings))
    state, losses = network.initial_state(1), []
    head = network.head
    for number, step in enumerate(range(first, first + steps)):
        past = codes[step * sound.step : step * sound.step + sound.history]
        past_values = torch.from_numpy(companded()[past])[None]
        x = past_values
        if conditioning is not None:
            x = torch.cat([torch.from_numpy(conditioning[number : number + 1]), past_values], dim=1)
        h, state = network.core.step(Padded(x[:, None], torch.tensor([1])), state, last=False)
        from_core = head.from_core(h.data[0, 0]).view(sound.step, head.width)
        for k in range(sound.step):
            s = step * sound.step + k + sound.history
            values = torch.from_numpy(companded()[codes[s - sound.history : s]])
            r = torch.relu(from_core[k] + head.from_samples(values) + head.from_level[codes[s - 1]])
            scores = head.scores(torch.relu(head.inner(r)))
            losses.append(-float(F.log_softmax(scores, dim=-1)[codes[s]]))
    return losses


@pytest.mark.parametrize("condition", ["none", "mel", "labels"])
@pytest.mark.parametrize("first", [0, 1, 30])
def test_the_losses_of_a_segment_are_those_of_its_samples_one_by_one(condition, first):
    made = model(f"sound.condition={condition}")
    piece = recording(made.settings)
    with torch.no_grad():
        found = sample_losses(made, sound_batch([(piece, first, 9)], made.settings))
        expected = slow_losses(made, piece, first, 9)
    assert_close(found.tolist(), expected, rtol=1e-4, atol=1e-4)


def test_rows_of_a_batch_are_the_rows_alone():
    made = model()
    parts = [
        (recording(made.settings, seed=i), first, steps) for i, first, steps in [(0, 0, 9), (1, 3, 20), (2, 40, 1)]
    ]
    with torch.no_grad():
        together = sample_losses(made, sound_batch(parts, made.settings))
        alone = torch.cat([sample_losses(made, sound_batch([part], made.settings)) for part in parts])
    assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_an_epoch_holds_every_whole_step_of_every_recording_once():
    made = settings()
    pieces = [recording(made, samples, seed=i, name=f"r{i}") for i, samples in enumerate([260, 4, 83, 161, 3])]
    segments = WaveTask(model(), pieces, pieces, CPU)
    for epoch in (0, 1):
        found = {piece.name: [] for piece in pieces}
        batches = list(segments.batches(epoch, 0))
        assert len(batches) == segments.num_batches(epoch)
        for batch in batches:
            for name, codes, steps in zip(batch.names, batch.codes, batch.lengths, strict=True):
                found[name].append(codes[made.sound.history : made.sound.history + 4 * steps].tolist())
        for piece in pieces:
            whole = piece.codes[: len(piece.codes) // 4 * 4].tolist()
            assert sorted(code for part in found[piece.name] for code in part) == sorted(whole)
            assert sum(map(len, found[piece.name])) == len(whole)
    assert found["r3"] != [pieces[3].codes[:160].tolist()]  # cut, not whole


def test_recordings_that_fit_are_read_whole_in_batches_of_similar_length():
    made = settings()
    most = made.segment_steps * made.sound.step
    pieces = [recording(made, most * (1 + i % 3) // 3, seed=i, name=f"r{i}") for i in range(30)]
    batches = list(WaveTask(model(), pieces, pieces, CPU).batches(0, 0))
    assert sorted(name for batch in batches for name in batch.names) == sorted(piece.name for piece in pieces)
    assert sum(len(set(batch.lengths.tolist())) == 1 for batch in batches) >= len(batches) - 2


def test_a_segment_has_the_history_that_it_has_in_its_recording():
    made = settings()
    piece = recording(made)
    batch = sound_batch([(piece, 0, 2), (piece, 1, 2), (piece, 5, 2)], made)
    assert batch.codes[0, :6].tolist() == [MIDDLE] * 6
    assert batch.codes[1, :6].tolist() == [MIDDLE] * 2 + piece.codes[:4].tolist()
    assert batch.codes[2, :6].tolist() == piece.codes[14:20].tolist()


def test_a_batch_in_parts_has_the_loss_of_the_whole():
    made = model()
    pieces = [recording(made.settings, seed=i, name=f"r{i}") for i in range(3)]
    task = WaveTask(made, pieces, pieces, CPU)
    batch = next(task.batches(0, 0))
    with torch.no_grad():
        whole, parts = task.loss(batch)[0], [task.loss(part) for part in batch.split(2)]
    assert math.isclose(float(whole), sum(float(loss) for loss, _ in parts), rel_tol=1e-5)
    assert sum(count for _, count in parts) == 4 * batch.lengths.sum()


def test_dev_is_scored_on_so_many_seconds():
    made = model()
    batches = dev_batches(made, [recording(made.settings, 2000)], 0.02)
    assert sum(int(batch.lengths.sum()) for batch in batches) == 40  # 0.02 s of 8 kHz in steps of 4


# Conditioning


def test_conditioning_is_interpolated_between_frames():
    frames = np.array([[0.0], [10.0], [30.0]], np.float32)
    assert between(frames, np.array([-1.0, 0.0, 0.25, 1.5, 2.0, 9.0]))[:, 0].tolist() == [0, 0, 2.5, 20, 30, 30]


def test_a_mel_frame_stands_for_the_middle_of_its_window():
    made = settings()  # 8 kHz: windows of 200 samples, 80 apart; steps of 4
    middle_of_second_window = 180
    place = places_of(np.array([middle_of_second_window // 4]), made)[0]
    assert math.isclose(place, 1 + 2 / 80)  # the middle of a step lies 2 samples behind its first


def test_mel_frames_come_with_their_neighbors():
    made = settings()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 600).astype(np.float32)
    frames = mel_conditions(samples, made)
    assert frames.shape == (6, 18)
    np.testing.assert_array_equal(frames[2, :6], frames[1, 6:12])
    np.testing.assert_array_equal(frames[2, 12:], frames[3, 6:12])
    np.testing.assert_array_equal(frames[0, :6], frames[0, 6:12])


def test_a_recording_shorter_than_a_frame_is_refused():
    with pytest.raises(DataError, match="has 100 samples, less than one frame"):
        mel_conditions(np.zeros(100, np.float32), settings())


def test_labels_say_who_says_what_how_long_it_is_and_how_far_it_has_come():
    frames = label_conditions("two", "ann", 400, settings("sound.condition=labels").features, LABELS)
    assert frames.shape == (5, 2 + 2 + PROGRESS + 1)
    assert frames[:, :4].tolist() == [[0, 1, 1, 0]] * 5
    np.testing.assert_allclose(frames[:, 4:-1].sum(axis=1), 1, atol=1e-6)
    progress = frames[:, 4:-1] @ np.arange(PROGRESS)
    np.testing.assert_allclose(progress / (PROGRESS - 1), [0.1, 0.3, 0.5, 0.7, 0.9], atol=1e-6)
    np.testing.assert_allclose(frames[:, -1], 0.01)  # 0.05 s of 5 s


@pytest.mark.parametrize(("text", "speaker", "message"), [
    ("three", "ann", "text 'three': the model knows one, two"),
    ("one", "eve", "speaker 'eve': the model knows ann, bob"),
])  # fmt: skip
def test_an_unknown_label_is_named(text, speaker, message):
    with pytest.raises(UsageError, match=message):
        label_conditions(text, speaker, 400, settings("sound.condition=labels").features, LABELS)


# Drawing


def slow_draw(made, frames, num_samples, uniforms, temperature=1.0):
    """Levels drawn one by one with PyTorch: the first whose cumulated probability reaches the random number."""
    sound = made.settings.sound
    piece = Recording("r", np.zeros(0, np.uint8), frames)
    codes = []
    for s in range(num_samples):
        probabilities = slow_distribution(made, piece, np.array(codes, np.int64), s, temperature)
        codes.append(int((np.cumsum(probabilities) < uniforms[s // sound.step, s % sound.step]).sum()))
    return codes


def slow_distribution(made, piece, codes, s, temperature):
    """P of the levels of sample ``s`` after the samples before it."""
    sound = made.settings.sound
    steps = s // sound.step + 1
    filled = np.concatenate([codes, np.zeros(steps * sound.step - len(codes), np.int64)]).astype(np.uint8)
    batch = sound_batch([(Recording("r", filled, piece.frames), 0, steps)], made.settings)
    every = np.repeat(batch.codes, LEVELS, axis=0)
    every[:, sound.history + s] = np.arange(LEVELS)
    whole = [Recording("r", row[sound.history :].astype(np.uint8), piece.frames) for row in every]
    with torch.no_grad():
        losses = sample_losses(made, sound_batch([(one, 0, steps) for one in whole], made.settings))
    log_probs = -losses.view(LEVELS, -1)[:, s].double().numpy()
    cooled = np.exp(log_probs / temperature)
    return cooled / cooled.sum()


@pytest.mark.parametrize(("condition", "temperature"), [("none", 1.0), ("mel", 1.0), ("mel", 0.7)])
def test_the_graph_samples_from_the_distribution_of_the_network(condition, temperature):
    made = model(f"sound.condition={condition}")
    frames = recording(made.settings).frames
    generator = open_file(build_file(made).SerializeToString(), SOUND)
    conditioning = [frames] if condition != "none" else []
    blocks = list(generator.generate(22, frames=conditioning, seed=5, temperature=temperature))
    assert [block.shape for block in blocks] == [(1, 4)] * 5 + [(1, 2)]
    rng = np.random.default_rng([5, 0])
    uniforms = np.stack([rng.random(4, np.float32) for _ in range(6)])
    codes = slow_draw(made, frames, 24, uniforms, temperature)
    raised = decode(np.array(codes))
    expected = np.zeros(24)
    for s, value in enumerate(raised):
        expected[s] = value + 0.85 * (expected[s - 1] if s else 0.0)
    np.testing.assert_allclose(np.concatenate(blocks, axis=1)[0], np.clip(expected, -1, 1)[:22], atol=1e-4)


def test_with_linear_prediction_the_same_levels_are_drawn_and_coloured_by_the_frames():
    plain, colored = model(), model("sound.prediction=3")
    frames = recording(plain.settings).frames
    generators = [open_file(build_file(made).SerializeToString(), SOUND) for made in (plain, colored)]
    for seed in range(100):  # until de-emphasis clips nothing
        blocks = [np.concatenate(list(one.generate(60, frames=[frames], seed=seed)), 1) for one in generators]
        if np.abs(blocks[0]).max() < 1.0:
            break
    codes = encode(emphasize(blocks[0][0], 0.85))  # what was drawn, but where de-emphasis was clipped
    sounds = LevelDecoder([frames], 1, colored.settings)
    expected = np.concatenate([sounds.step(n, codes[None, 4 * n : 4 * n + 4]) for n in range(15)], axis=1)
    assert np.abs(blocks[0]).max() < 1.0
    np.testing.assert_allclose(blocks[1], expected, atol=1e-4)


def test_the_same_seed_gives_the_same_sound_and_a_row_does_not_depend_on_its_neighbors():
    made = model()
    frames = [recording(made.settings, seed=i).frames for i in range(2)]
    generator = open_file(build_file(made).SerializeToString(), SOUND)

    def draw(conditioning, seed):
        blocks = generator.generate(60, frames=conditioning, row_numbers=range(len(conditioning)), seed=seed)
        return np.concatenate(list(blocks), axis=1)

    np.testing.assert_array_equal(draw(frames, 3), draw(frames, 3))
    assert (draw(frames, 3) != draw(frames, 4)).any()
    np.testing.assert_allclose(draw(frames, 3)[0], draw(frames[:1], 3)[0], atol=1e-6)


def test_what_is_given_comes_out_and_the_rest_goes_on_from_it():
    made = model("sound.condition=none")
    generator = open_file(build_file(made).SerializeToString(), SOUND)
    given = (0.3 * np.sin(np.arange(40) / 3)).astype(np.float32)
    first, second = (
        np.concatenate(list(generator.generate(80, given=piece, seed=1)), axis=1)[0] for piece in (given, -given)
    )
    np.testing.assert_allclose(first[:40], given, atol=0.05)
    assert (first[40:] != second[40:]).any()  # the same random numbers after another beginning


# Training


@pytest.fixture
def corpus(tmp_path):
    small_corpus.write_sounds(tmp_path / "train", 8000, seconds=[0.1, 0.15, 0.12], text=["one", "two", "one"])
    small_corpus.write_sounds(tmp_path / "dev", 8000, seconds=[0.1], text=["one"])
    return tmp_path


@pytest.mark.parametrize("condition", ["none", "mel"])
def test_a_run_stopped_in_mid_epoch_ends_in_the_same_weights(corpus, condition):
    made = settings(f"sound.condition={condition}", "segments.noise=1")
    assert_resumes(SOUND, made, data_in(corpus), corpus, WaveTask)


def test_mel_frames_are_normalized_by_the_training_set(corpus):
    run = train_model(SOUND, settings(), data_in(corpus), corpus / "exp", quiet=True)
    stage = load_model(run.folder, SOUND).network.encoder.stages["normalize"]
    assert float(stage.mean.abs().min()) > 0.1
    assert float((stage.inverse_stddev - 1).abs().min()) > 1e-3


def test_recordings_of_another_rate_are_all_named(corpus):
    with pytest.raises(DataError, match=r"u0.*8000 Hz; 16000 Hz \(features.sample_rate\).*and 2 more"):
        train_model(SOUND, settings("features.sample_rate=16000"), data_in(corpus), corpus / "exp")


def test_a_step_that_does_not_divide_the_hop_is_refused():
    with pytest.raises(UsageError, match=r"sound\.step=7 must divide the hop of 80 samples"):
        settings("sound.step=7", "sound.history=8")


def test_a_model_learns_a_sound_that_repeats():
    """A period of 8 levels: what follows is certain."""
    made = new_wave_model(settings("sound.condition=none", "segments.segment_s=0.05"), Labels())
    period = encode(0.5 * np.sin(np.arange(8) * np.pi / 4))
    piece = Recording("r", np.tile(period, 200), np.zeros((1, 0), np.float32))
    batch = sound_batch([(piece, 10 * i, 100) for i in range(3)], made.settings)
    optimiser = torch.optim.Adam(made.network.parameters(), lr=0.02)
    torch.manual_seed(0)
    for _ in range(150):
        loss = sample_losses(made, batch).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
