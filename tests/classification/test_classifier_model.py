"""The network of a classifier as a stage and as a file: the same numbers, the same contract, and int8 bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tones
import torch
from torch.testing import assert_close

from contract import AsTorch, verify_contract
from recitative.audio.files import write_wav
from recitative.classification import task as classifier_task
from recitative.classification.classifier import CLASSIFIER, load_classifier
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.model.export import MAX_WER_INCREASE, build_file, export_checked, measure_inputs
from recitative.model.folder import load_model, save_model
from recitative.model.graph import Graph
from recitative.model.graph_stages import running_softmax
from recitative.model.onnx_stage import OnnxStage, open_session
from recitative.nn.stages import AttentionPooling
from recitative.stage import Padded


def features(shape, generator):
    return 16 + 3 * torch.randn(*shape, 8, generator=generator)


@pytest.mark.parametrize("pooling", ["last", "mean", "attention", "recent model.pooling_frames=4"])
@pytest.mark.parametrize("direction", ["forward", "latency_controlled"])
def test_the_whole_network_keeps_the_contract(pooling, direction):
    made = tones.classifier(
        *f"model.pooling={pooling}".split(), f"model.recurrent.direction={direction}", "model.recurrent.chunk=3",
        "model.recurrent.right_context=1", "model.cmvn=running", "model.dropout=0.3",
    )  # fmt: skip
    verify_contract(made.network, features, cuttings=3, atol=1e-4)  # the head's weights are large


@pytest.mark.parametrize("pooling", ["last", "mean", "attention", "recent model.pooling_frames=4"])
def test_the_running_label_of_a_stream_is_that_of_the_prefix_as_a_recording(pooling):
    made = tones.classifier(*f"model.pooling={pooling}".split())
    x = features((1, 40), torch.Generator().manual_seed(1))
    running = made.network.step(Padded(x, torch.tensor([40])), made.network.initial_state(1), last=False)[0]
    for frames in (1, 7, 20):
        prefix = made.log_probs(Padded(x[:, : 2 * frames], torch.tensor([2 * frames])))
        assert_close(prefix[0], running.data[0, frames - 1], atol=1e-5, rtol=1e-5)


def test_a_recording_has_the_same_label_alone_and_in_a_batch():
    made = tones.classifier()
    x = features((2, 40), torch.Generator().manual_seed(1))
    x[1, 12:] = float("nan")
    together = made.log_probs(Padded(x, torch.tensor([40, 12])))
    assert_close(together[1:], made.log_probs(Padded(x[1:, :12], torch.tensor([12]))), atol=1e-5, rtol=1e-5)
    assert_close(together.exp().sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(("name", "content", "message"), [
    ("labels.json", "{}", "labels.json: holds no labels; a list of two or more names"),
    ("labels.json", json.dumps(["a", "b"]), "does not hold this model's weights"),
])  # fmt: skip
def test_what_is_no_whole_classifier_is_refused(tmp_path, name, content, message):
    save_model(tones.classifier(), tmp_path)
    for spoiled in (name, "SHA256SUMS"):
        (tmp_path / spoiled).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_model(tmp_path, CLASSIFIER)


@pytest.mark.parametrize(("override", "message"), [
    ("labels=[a, a]", r"labels=\['a', 'a'\] must be distinct"),
    ("mixup.alpha=-1", "mixup.alpha=-1: input should be greater than or equal to 0"),
    ("class_weights=some", "class_weights='some': input should be 'none' or 'balanced'"),
    ("model.pooling=recent", "pooling_frames=0 must be 2 or more with pooling=recent"),
    (["left_context_s=1", "crop_s=1"], "left_context_s=1 needs crop_s=0 and mixup.alpha=0: the label is for the end"),
    ("model.pooling_frames=5", "pooling_frames=5 needs pooling=recent, not attention"),
    ("model.poling=mean", "unknown setting 'model.poling'; did you mean 'pooling'"),
])  # fmt: skip
def test_wrong_settings_are_refused(override, message):
    with pytest.raises(UsageError, match=message):
        tones.settings(*([override] if isinstance(override, str) else override))


LENGTHS = torch.tensor([40, 17, 3, 0, 1])
POOLINGS = ["last", "mean", "attention", "recent model.pooling_frames=4"]
BLOCKS = ("model.recurrent.direction=latency_controlled", "model.recurrent.chunk=3", "model.recurrent.right_context=1")


def attentive(*overrides):
    """A classifier whose attention weights differ between frames, unlike those of a new one."""
    made = tones.classifier(*overrides)
    if isinstance(made.network.stages["pooling"], AttentionPooling):
        with torch.no_grad():
            made.network.stages["pooling"].score.weight.normal_(std=2.0)
    return made


def exported(made, *, int8=False):
    x = Padded(features((5, 40), torch.Generator().manual_seed(2)), LENGTHS)
    inputs = measure_inputs(made.network, [x]) if int8 else None
    return OnnxStage(build_file(made, inputs=inputs).SerializeToString(), CLASSIFIER)


def compare(made, network, atol):
    x = Padded(features((5, 40), torch.Generator().manual_seed(3)), LENGTHS)
    expected, _ = made.network.step(x, made.network.initial_state(5), last=True)
    got, _ = network.step(Padded(x.data.numpy(), x.lengths.numpy()), network.initial_state(5), last=True)
    assert got.lengths.tolist() == expected.lengths.tolist()
    for row, expected_row, length in zip(got.data, expected.data, got.lengths, strict=True):
        assert_close(torch.from_numpy(row[:length]), expected_row[:length], atol=atol, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("core", [(), BLOCKS, ("model.cmvn=running", "model.dropout=0.3")], ids=["", "blocks", "cmvn"])
def test_the_graph_computes_what_the_network_computes_and_keeps_the_contract(pooling, core):
    made = attentive(*f"model.pooling={pooling}".split(), *core)
    network = exported(made)
    compare(made, network, atol=1e-4)  # the head's weights are large
    verify_contract(AsTorch(network), features, gradients=False, cuttings=3, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("core", [(), BLOCKS], ids=["", "blocks"])
def test_int8_keeps_the_contract_bit_for_bit(pooling, core):
    made = attentive(*f"model.pooling={pooling}".split(), *core)
    network = exported(made, int8=True)
    compare(made, network, atol=0.3)  # of logits up to 10
    # Eight bits of the mean of many frames do not notice every one of them.
    verify_contract(AsTorch(network), features, gradients=False, cuttings=3, atol=0.0, slack=8)


def test_a_bidirectional_classifier_is_the_same_of_whole_recordings_and_refuses_pieces():
    made = attentive("model.recurrent.direction=bidirectional", "model.cmvn=utterance")
    compare(made, exported(made), atol=1e-4)
    with pytest.raises(UsageError, match="this classifier has no running label: it needs the whole recording"):
        load_classifier(build_file(made).SerializeToString()).stream()


def softmax_alone(scores, x, lengths, state):
    """``running_softmax`` alone, in one call."""
    g = Graph()
    names = [g.input(name, "float64", shape) for name, shape in (("a", ("N", "T", 1)), ("x", ("N", "T", 3)))]
    inside = g.mask(g.input("lengths", "int64", ("N",)), g.size(names[1], 1))
    before = tuple(g.input(f"b{i}", "float64", ("N", *[3] * (i == 2))) for i in range(3))
    y, after = running_softmax(g, *names, inside, before)
    for i, (value, rank) in enumerate(zip((y, *after), (("N", "T", 3), ("N",), ("N",), ("N", 3)), strict=True)):
        g.output(f"o{i}", value, "float64", rank)
    session = open_session(g.model({}).SerializeToString(), "the graph", "graph", threads=1)
    feeds = {"a": scores, "x": x, "lengths": lengths} | {f"b{i}": value for i, value in enumerate(state)}
    y, *after = session.run([f"o{i}" for i in range(4)], feeds)
    return y, after


def test_the_running_softmax_is_the_softmax_of_the_frames_so_far_also_of_scores_that_are_far_apart():
    rng = np.random.default_rng(0)
    for scale in (1.0, 2000.0):  # exp(2000) is no float64, and a fall of 2000 leaves later frames a weight of 0
        scores, x = scale * rng.standard_normal((2, 30, 1)), rng.standard_normal((2, 30, 3))
        lengths = np.array([30, 7])
        x[1, 7:] = 0
        start = (np.full(2, -1e30), np.zeros(2), np.zeros((2, 3)))
        y, after = softmax_alone(scores, x, lengths, start)
        for row, length in enumerate(lengths):
            for t in range(length):
                weights = np.exp(scores[row, : t + 1] - scores[row, : t + 1].max())
                np.testing.assert_allclose(y[row, t], (weights * x[row, : t + 1]).sum(0) / weights.sum(), atol=1e-12)
        assert np.isfinite(y).all(), "what lies beyond a row is finite"
        state = start
        for cut, most in ((slice(0, 11), 11), (slice(0, 1), 0), (slice(11, 30), 19)):  # an empty piece among them
            inside = np.clip(lengths - cut.start, 0, most)
            _, state = softmax_alone(scores[:, cut], x[:, cut], inside, state)
        assert all(np.array_equal(whole, pieces) for whole, pieces in zip(after, state, strict=True))


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return tones.write_corpus(tmp_path_factory.mktemp("dev"), each=2)


def test_int8_that_costs_too_much_is_left_or_refused(tmp_path, dev, monkeypatch):
    made = tones.classifier()
    right = classifier_task.classify_directory(load_classifier(build_file(made).SerializeToString()), dev)
    names = {u.utt_id: made.labels[k] for u, k in zip(right.utterances, right.predicted.tolist(), strict=True)}
    data = DataDirectory.read(dev)
    for utt_id, name in names.items():
        data = tones.changed(data, utt_id, text=name)
    data.write(tmp_path / "dev")
    monkeypatch.setattr(classifier_task, "measure_inputs", _too_narrow)
    done = export_checked(made, tmp_path / "m.onnx", dev=tmp_path / "dev")
    assert done.float32_errors.rate == 0.0
    assert done.int8_errors.rate > MAX_WER_INCREASE
    assert done.weights == OnnxStage(tmp_path / "m.onnx", CLASSIFIER).metadata.weights == "float32"
    with pytest.raises(DataError, match=r"of accuracy on .* use --weights float32"):
        export_checked(made, tmp_path / "n.onnx", dev=tmp_path / "dev", weights="int8")
    assert not (tmp_path / "n.onnx").exists()


def _too_narrow(network, batches, measure=classifier_task.measure_inputs):
    return {
        name: replace(found, lowest=1e-6 * found.lowest, highest=1e-6 * found.highest)
        for name, found in measure(network, batches).items()
    }


def test_a_dev_set_is_needed_and_its_problems_are_reported(tmp_path, dev):
    with pytest.raises(UsageError, match="give --dev, or --weights float32"):
        export_checked(tones.classifier(), tmp_path / "m.onnx", dev=None)
    first = DataDirectory.read(dev).utterances[0]
    write_wav(tmp_path / "short.wav", np.zeros(10), tones.RATE)
    bad = tones.changed(DataDirectory.read(dev), first.utt_id, recording_path=str(tmp_path / "short.wav"))
    bad.write(tmp_path / "bad")
    with pytest.raises(DataError, match=r"lasts 0\.0025 s; at least 0\.015 s, one frame of the network"):
        export_checked(tones.classifier(), tmp_path / "m.onnx", dev=tmp_path / "bad")
