"""Labels of recordings and streams: however it is cut, a stream has the label of the recording so far."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import soundfile
import tones
import torch

from contract import AsTorch, verify_contract
from recitative.audio.files import resample
from recitative.classification.classifier import Classifier, Label, Prediction, load_classifier
from recitative.errors import DataError, UsageError
from recitative.features.frontend import FeatureExtractor
from recitative.model.export import build_file, measure_inputs
from recitative.model.folder import TorchStage
from recitative.nn.ragged import pad_features

BLOCKS = ("model.recurrent.direction=latency_controlled", "model.recurrent.chunk=3", "model.recurrent.right_context=2")
CONV = ("model.front_end.kind=conv", "model.front_end.channels=[2,3,4]", "model.front_end.strides=[1,2,2]")
KINDS = [
    ("last",),
    ("mean",),
    ("attention",),
    ("attention", *BLOCKS),
    ("mean", "features.delta_order=2"),
    ("attention", *CONV),
    ("recent", "model.pooling_frames=5"),
]


def spoken(seconds=1.2, seed=0):
    """Tones one after another, so that the label changes on the way."""
    rng = np.random.default_rng(seed)
    return np.concatenate([tones.tone(label, seconds / 3, rng) for label in tones.TONES_HZ])


def in_pytorch(*overrides):
    made = tones.classifier(*overrides)
    return Classifier(TorchStage(made.network), made.settings, made.labels)


def in_int8(*overrides):
    made = tones.classifier(*overrides)
    features = FeatureExtractor(made.settings.features).compute(spoken(seed=1))
    inputs = measure_inputs(made.network, [pad_features([features], features.shape[1])])
    return load_classifier(build_file(made, inputs=inputs).SerializeToString())


def cut(samples, rng):
    """Random pieces, empty ones and single samples among them, that add up to the samples."""
    while len(samples):
        size = int(rng.choice([0, 1, 3, 40, 333, 2000]))
        yield samples[:size]
        samples = samples[size:]


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_the_running_label_after_any_prefix_is_that_of_a_recording_that_ends_there_to_the_bit(kind):
    classifier = in_int8(f"model.pooling={kind[0]}", *kind[1:])
    samples, rng = spoken(), np.random.default_rng(2)
    for _ in range(3):
        stream, heard = classifier.stream(), 0
        for piece in cut(samples, rng):
            running = stream.accept(piece, tones.RATE)
            heard += len(piece)
            if heard >= classifier.min_samples:
                expected = classifier.ranked(classifier.last_log_probs([samples[:heard]])[0])
                assert running == [Label(heard / tones.RATE, expected)]
            else:
                assert running == []
        assert stream.finish() == [], "the label of the whole was the last event"
        assert stream.accept(samples[:0], tones.RATE) == [], "a finished stream is new"
        stream.advance(samples, tones.RATE)
        assert [label.predictions for label in stream.finish()] == [
            classifier.ranked(classifier.last_log_probs([samples])[0])
        ]


def test_labels_come_after_each_so_many_seconds_and_at_the_end_however_the_stream_is_cut():
    classifier, samples = in_int8(), spoken()
    expected = None
    for pieces in ([samples], cut(samples, np.random.default_rng(4))):
        stream = classifier.stream(every_s=0.25)
        labels = [label for piece in pieces for label in stream.accept(piece, tones.RATE)] + stream.finish()
        assert [label.end_s for label in labels] == pytest.approx([0.25, 0.5, 0.75, 1.0, len(samples) / tones.RATE])
        assert expected in (None, labels)
        expected = labels
    first = expected[0]
    assert (first.label, first.probability) == (first.predictions[0].label, first.predictions[0].probability)
    assert first.to_dict(top=1) == {
        "type": "label", "start": 0.0, "end": 0.25,
        "labels": [{"label": first.label, "probability": first.probability}],
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_pytorch_labels_streams_in_the_same_way(kind):
    classifier = in_pytorch(f"model.pooling={kind[0]}", *kind[1:])
    samples, stream, heard = spoken(), classifier.stream(), 0
    for piece in cut(samples, np.random.default_rng(3)):
        stream.advance(piece, tones.RATE)
        heard += len(piece)
        if heard >= classifier.min_samples:
            expected = classifier.last_log_probs([samples[:heard]])[0]
            np.testing.assert_allclose(np.exp(stream.log_probs()), np.exp(expected), atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 11025, 3000])
def test_a_stream_at_another_rate_has_the_label_of_its_resampled_prefix(rate):
    classifier, rng = in_int8(), np.random.default_rng(0)
    samples, heard = resample(spoken(), tones.RATE, rate), 0
    stream = classifier.stream()
    for piece in cut(samples, rng):
        stream.advance(piece, rate)
        heard += len(piece)
        prefix = resample(samples[:heard], rate, tones.RATE)
        if len(prefix) >= classifier.min_samples:
            expected = classifier.last_log_probs([prefix])[0]
            np.testing.assert_allclose(np.exp(stream.log_probs()), np.exp(expected), atol=1e-4)


def test_samples_to_log_probabilities_keep_the_contract():
    stage = AsTorch(in_int8("model.pooling=attention"))
    verify_contract(
        stage, lambda shape, g: 0.1 * torch.randn(*shape, generator=g), longest=700, gradients=False, cuttings=2,
        rows=3, atol=0.0, slack=200,
    )  # fmt: skip


def test_a_recording_read_in_blocks_has_the_label_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("recitative.classification.classifier.BLOCK_S", 0.17)
    classifier, samples = in_int8(), spoken()
    soundfile.write(tmp_path / "a.flac", np.stack([samples, samples], axis=1), tones.RATE)
    samples, _ = soundfile.read(tmp_path / "a.flac", dtype="float32", always_2d=True)
    expected = classifier.ranked(classifier.last_log_probs([samples[:, 0]])[0])
    found = classifier.classify_file(tmp_path / "a.flac")
    assert (found.end_s, found.predictions) == (pytest.approx(1.2), expected)
    assert classifier.classify_file((tmp_path / "a.flac").read_bytes()) == found
    assert classifier.classify_file(samples[:, 0], tones.RATE) == found
    followed = list(classifier.stream_file(tmp_path / "a.flac", 0.5))
    assert [running.end_s for running in followed] == pytest.approx([0.5, 1.0, 1.2], abs=1e-3)
    assert followed[-1].predictions == expected
    half = classifier.ranked(classifier.last_log_probs([samples[: tones.RATE // 2, 0]])[0])
    assert followed[0].predictions == half


def test_a_truncated_recording_is_classified_with_partial(tmp_path):
    classifier, samples = in_int8(), spoken()
    soundfile.write(tmp_path / "a.wav", samples, tones.RATE)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[: 44 + len(samples)])  # half of two bytes each
    with pytest.raises(DataError, match="is truncated"):
        classifier.classify_file(tmp_path / "a.wav")
    assert classifier.classify_file(tmp_path / "a.wav", partial=True).end_s == pytest.approx(0.6, abs=0.01)
    *_, last = classifier.stream_file(tmp_path / "a.wav", 0.5, partial=True)
    assert last.end_s == pytest.approx(0.6, abs=0.01)


def test_a_bidirectional_model_labels_whole_recordings_and_has_no_running_label(tmp_path):
    classifier, samples = in_pytorch("model.recurrent.direction=bidirectional"), spoken()
    soundfile.write(tmp_path / "a.wav", samples, tones.RATE, subtype="FLOAT")
    expected = classifier.ranked(classifier.last_log_probs([samples])[0])
    assert classifier.classify_file(tmp_path / "a.wav").predictions == expected
    with pytest.raises(UsageError, match="has no running label: it needs the whole recording; use one"):
        next(classifier.stream_file(tmp_path / "a.wav", 0.5))


def test_a_stream_keeps_no_more_of_a_long_recording_than_of_a_short_one():
    stream, kept = in_int8("features.delta_order=2").stream(), []
    for _ in range(60):
        stream.accept(tones.tone("low", 1.0, np.random.default_rng(0)), 2 * tones.RATE)
        kept.append(len(pickle.dumps({name: value for name, value in vars(stream).items() if "resampl" not in name
                                      and name != "network"})))  # fmt: skip
    assert max(kept[5:]) <= kept[4] + 8  # the counts have more digits


def test_labels_are_ranked_by_their_probability():
    classifier = in_pytorch()
    with np.errstate(divide="ignore"):
        found = classifier.ranked(np.log([0.25, 0.75, 0.0]))
    assert found == (Prediction("low", 0.75), Prediction("high", 0.25), Prediction("middle", 0.0))


@pytest.mark.parametrize(("samples", "rate", "error", "message"), [
    (np.zeros((2, 9)), 4000, UsageError, r"samples have shape \(2, 9\): must be \(S,\)"),
    (np.zeros(9, np.int32), 4000, UsageError, "samples are int32: must be float"),
    (np.array([0.0, np.nan]), 4000, DataError, "sample 1: is nan; finite numbers"),
    (np.zeros(9), 8000, UsageError, "sample rate changed from 4000 to 8000 Hz in mid-stream"),
])  # fmt: skip
def test_bad_samples_are_refused_and_the_stream_is_as_it_was(samples, rate, error, message):
    stream, again = in_pytorch().stream(), in_pytorch().stream()
    stream.accept(spoken(), tones.RATE)
    with pytest.raises(error, match=message):
        stream.accept(samples, rate)
    assert stream.accept(spoken()[:0], tones.RATE) == again.accept(spoken(), tones.RATE)
    stream.reset()
    with pytest.raises(UsageError, match="sample_rate=10: must be from 1000 to 768000 Hz"):
        stream.accept(spoken(), 10)


@pytest.mark.parametrize(("seconds", "message"), [
    (0.01, r"lasts 0.01 s; at least 0.015 s, one frame of the network; give a longer recording"),
    (2.0, r"lasts 2 s; at most 1 s for one label; cut it, or follow .* --every SECONDS"),
])  # fmt: skip
def test_recordings_that_are_too_short_or_too_long_are_refused(tmp_path, seconds, message):
    soundfile.write(tmp_path / "a.wav", np.zeros(round(seconds * tones.RATE)), tones.RATE)
    with pytest.raises(DataError, match=message):
        in_pytorch().classify_file(tmp_path / "a.wav", longest_s=1.0)
    if seconds < 1:
        with pytest.raises(DataError, match=message):
            list(in_pytorch().stream_file(tmp_path / "a.wav", 0.5))


SPEEDS = "augment.speeds=[0.9,1.25]"  # and its own


def test_all_speeds_gives_the_mean_of_the_probabilities_at_each(tmp_path, monkeypatch):
    monkeypatch.setattr("recitative.classification.classifier.BLOCK_S", 0.17)
    classifier, rows = in_pytorch(SPEEDS), [spoken(0.6), spoken(0.9, seed=1)]
    said = [
        classifier.last_log_probs([resample(row, tones.RATE * s, tones.RATE) for row in rows]) for s in (0.9, 1, 1.25)
    ]
    expected = np.exp(np.array(said, np.float64)).mean(0)
    np.testing.assert_allclose(np.exp(classifier.mean_log_probs(rows)), expected, atol=1e-6)
    assert np.abs(expected - np.exp(said[1])).max() > 1e-3, "speeds differ"
    soundfile.write(tmp_path / "a.wav", rows[0], tones.RATE, subtype="FLOAT")
    label = classifier.classify_file(tmp_path / "a.wav", all_speeds=True)
    found = {one.label: one.probability for one in label.predictions}
    np.testing.assert_allclose([found[label] for label in classifier.labels], expected[0], atol=1e-4)


def test_a_speed_at_which_a_recording_is_too_short_is_left_out(tmp_path):
    classifier = in_pytorch(SPEEDS)
    row = spoken()[: classifier.min_samples]
    slow, own = (classifier.last_log_probs([resample(row, tones.RATE * s, tones.RATE)])[0] for s in (0.9, 1))
    expected = (np.exp(slow) + np.exp(own)) / 2
    np.testing.assert_allclose(np.exp(classifier.mean_log_probs([row])[0]), expected, atol=1e-6)
    soundfile.write(tmp_path / "a.wav", row, tones.RATE, subtype="FLOAT")
    label = classifier.classify_file(tmp_path / "a.wav", all_speeds=True)
    found = {one.label: one.probability for one in label.predictions}
    np.testing.assert_allclose([found[label] for label in classifier.labels], expected, atol=1e-4)
    soundfile.write(tmp_path / "b.wav", row[:-1], tones.RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="one frame of the network"):
        classifier.classify_file(tmp_path / "b.wav", all_speeds=True)
