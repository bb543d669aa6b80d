"""The network of a classifier as a stage, its running label, and its folder."""

import json

import pytest
import tones
import torch
from torch.testing import assert_close

from contract import verify_contract
from recitative.classification.kind import CLASSIFIER
from recitative.errors import DataError, UsageError
from recitative.model.folder import load_model, save_model
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


def test_a_recording_is_labelled_the_same_alone_and_beside_a_longer_one():
    made = tones.classifier()
    x = features((2, 40), torch.Generator().manual_seed(1))
    x[1, 12:] = float("nan")
    together = made.log_probs(Padded(x, torch.tensor([40, 12])))
    assert_close(together[1:], made.log_probs(Padded(x[1:, :12], torch.tensor([12]))), atol=1e-5, rtol=1e-5)
    assert_close(together.exp().sum(dim=1), torch.ones(2))


def test_a_bidirectional_core_labels_whole_recordings_and_refuses_pieces():
    made = tones.classifier("model.recurrent.direction=bidirectional")
    x = Padded(features((2, 20), torch.Generator()), torch.tensor([20, 9]))
    assert made.log_probs(x).shape == (2, 3)
    with pytest.raises(UsageError, match="needs the whole input at once"):
        made.network.step(x, made.network.initial_state(2), last=False)


def test_a_folder_is_the_classifier_that_was_saved(tmp_path):
    made = tones.classifier("model.pooling=attention", labels=("ja", "nein", "größer"))
    save_model(made, tmp_path / "model")
    loaded = load_model(tmp_path / "model", CLASSIFIER)
    assert (loaded.settings, loaded.labels) == (made.settings, made.labels)
    x = Padded(features((1, 20), torch.Generator()), torch.tensor([20]))
    assert torch.equal(loaded.log_probs(x), made.log_probs(x))


@pytest.mark.parametrize(("name", "content", "message"), [
    ("labels.json", None, "has no labels.json; a classifier's folder"),
    ("labels.json", "{}", "labels.json: holds no labels; a list of two or more names"),
    ("labels.json", json.dumps(["a", "b"]), "does not hold this model's weights"),
    ("settings.yaml", "kind: sound\n", "settings.yaml: is not a classifier's; 'kind: classifier'"),
    ("weights.safetensors", "nothing", "weights.safetensors: does not hold this model's weights"),
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
    (["context_s=1", "piece_s=1"], "context_s=1 needs piece_s=0 and mixup.alpha=0: the label is for the end"),
    ("model.pooling_frames=5", "pooling_frames=5 needs pooling=recent, not attention"),
    ("model.poling=mean", "unknown setting 'model.poling'; did you mean 'pooling'"),
])  # fmt: skip
def test_wrong_settings_are_named(override, message):
    with pytest.raises(UsageError, match=message):
        tones.settings(*([override] if isinstance(override, str) else override))
