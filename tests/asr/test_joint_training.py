"""CTC and attention trained together on tones: it learns, resumes, saves, rescores, and exports without the decoder."""

import json
import shutil

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import RecognizerModel, new_recognizer
from recitative.asr.task import RecognitionTask, average_best
from recitative.asr.tuning import MOST_AT_ONCE, attention_scores, encode_utterance
from recitative.config import RecognizerData, Settings, load_settings, validate_tree
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError
from recitative.features.extraction import read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.model.export import build_file
from recitative.model.folder import load_model, save_model
from recitative.model.onnx_stage import OnnxStage
from recitative.stage import Padded
from recitative.train.checkpoint import read_progress
from recitative.train.run import train_model
from resuming import assert_resumes

SMALL = {"weight": 0.4, "hidden": 16, "embedding": 8, "key_width": 16, "location_channels": 4, "location_kernel": 7}
FRONT_END = {"window": 4, "stride": 4}
ON_ONE_CORE = {"threads": 1, "workers": 0, "device": "cpu"}


def features_of(utterance, settings):
    return FeatureExtractor(settings.features).compute(read_utterance(utterance))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Experiment folder and dev directory of a run long enough to learn, and the model as it was at its end.

    Not the averaged one: CTC is without an error long before the decoder, and of equal epochs the first are kept.
    """
    folder = tmp_path_factory.mktemp("joint")
    attention = SMALL | {"hidden": 32, "label_smoothing": 0.05, "sampling": 0.1, "dropout": 0.1}
    config = tiny.settings(
        model={
            "front_end": {"window": 8, "stride": 8},  # five core frames a letter
            "recurrent": {"layers": 1, "hidden": 24},
            "attention": attention | {"location_kernel": 11},
        },
        train=ON_ONE_CORE | {"epochs": 24, "batch_s": 3.0, "learning_rate": 0.015, "warmup_steps": 5},
    )
    paths = RecognizerData(**tiny.write_inputs(folder, config, train=60, dev=8))
    train_model(RECOGNIZER, config, paths, folder / "exp", quiet=True)
    made = new_recognizer(config, tiny.TOKENS)
    made.trained.load_state_dict(weights_of(folder / "exp"))
    made.trained.eval()
    return folder / "exp", DataDirectory.read(paths.dev), made


def weights_of(folder):
    return torch.load(folder / "checkpoint" / "latest.pt", weights_only=True)["network"]


def epochs_of(folder):
    lines = map(json.loads, (folder / "train.jsonl").read_text().splitlines())
    return [line for line in lines if "dev_att_loss" in line]


def test_the_decoder_learns_beside_ctc(trained):
    first, *_, last = epochs_of(trained[0])
    assert last["train_loss"] < 0.5 * first["train_loss"]
    assert last["dev_att_loss"] < 0.5 * first["dev_att_loss"]
    assert last["dev_att_accuracy"] > max(0.85, first["dev_att_accuracy"])
    assert last["dev_cer"] < 0.2


def test_it_spells_what_was_said(trained):
    _, dev, made = trained
    right = 0
    for utterance in dev.utterances:
        encoded = encode_utterance(made, features_of(utterance, made.settings))
        with torch.inference_mode():
            spelled = made.decoder.greedy(encoded, most_labels=20)
        right += made.tokens.decode(spelled.data[0, : int(spelled.lengths[0])].tolist()) == utterance.text
    assert right > len(dev.utterances) / 2


def test_rescoring_prefers_the_right_text(trained):
    _, dev, made = trained
    preferred = 0
    for utterance in dev.utterances:
        labels = made.tokens.encode(utterance.text)
        wrong = [labels[:-1], [*labels, 2], [*labels[:-1], 2 + (labels[-1] - 1) % 3], []]
        encoded = encode_utterance(made, features_of(utterance, made.settings))
        scores = attention_scores(made, encoded, [*wrong, labels])
        preferred += int(scores.argmax()) == len(wrong)
    assert preferred >= 0.75 * len(dev.utterances)


def test_the_averaged_model_has_the_averaged_decoder(trained):
    chosen = average_best(trained[0]).chosen
    best = [f"epoch-{int(epoch):04d}.safetensors" for _, epoch in read_progress(trained[0]).best[:chosen]]
    files = [load_file(trained[0] / "epochs" / name) for name in best]
    averaged = load_model(trained[0] / "model", RECOGNIZER).decoder.output.weight
    assert_close(averaged.detach(), torch.stack([file["decoder.output.weight"] for file in files]).mean(0))


def test_many_hypotheses_score_as_each_of_them_alone():
    made = joint_recognizer()
    encoded = encode_utterance(made, some_features())
    hypotheses = [[2, 3], [], [4, 1, 2, 2, 3], *([2, 3] for _ in range(MOST_AT_ONCE))]
    together = attention_scores(made, encoded, hypotheses)
    alone = [attention_scores(made, encoded, [labels])[0] for labels in hypotheses]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert attention_scores(made, encoded, []).shape == (0,)


def test_the_encoder_and_the_output_layer_make_the_network():
    made, x = joint_recognizer(), some_features()
    with torch.inference_mode():
        expected, _ = made.network.step(padded(x), made.network.initial_state(1), last=True)
        found = made.log_probs(encode_utterance(made, x))
    assert torch.equal(found.data, expected.data)


def test_a_model_without_a_decoder_cannot_rescore():
    made = tiny.recognizer()
    with pytest.raises(UsageError, match="has no attention decoder to rescore with; train one with"):
        attention_scores(made, encode_utterance(made, some_features()), [[2]])


def test_interrupted_in_mid_epoch_the_weights_are_the_same(tmp_path):
    attention = SMALL | {"sampling": 0.5, "dropout": 0.3}
    config = tiny.settings(
        model={"front_end": FRONT_END, "recurrent": {"layers": 1, "hidden": 8, "dropout": 0.3}, "attention": attention},
        train=ON_ONE_CORE,
    )
    assert_resumes(RECOGNIZER, config, RecognizerData(**tiny.write_inputs(tmp_path, config)), tmp_path, RecognitionTask)
    assert any(name.startswith("decoder.") for name in weights_of(tmp_path / "whole"))


def test_a_decoder_changes_nothing_of_the_network_beside_it(tmp_path):
    """The same first weights under the same names; only those of the decoder are added."""
    for name, made in (("joint", joint_recognizer()), ("alone", joint_recognizer(weight=0.0))):
        save_model(made, tmp_path / name)
    joint, alone = (load_file(tmp_path / name / "weights.safetensors") for name in ("joint", "alone"))
    assert {name for name in joint if not name.startswith("decoder.")} == alone.keys()
    assert all(torch.equal(joint[name], value) for name, value in alone.items())
    shutil.copy(tmp_path / "alone" / "weights.safetensors", tmp_path / "joint" / "weights.safetensors")
    (tmp_path / "joint" / "SHA256SUMS").unlink()
    with pytest.raises(Exception, match="does not hold this model's weights"):
        load_model(tmp_path / "joint", RECOGNIZER)


def test_settings_saved_before_there_were_decoders_mean_no_decoder(tmp_path):
    values = tiny.settings().model_dump(mode="json")
    del values["model"]["attention"]
    settings = validate_tree(Settings, values, where="test")
    assert settings == tiny.settings()
    assert new_recognizer(settings, tiny.TOKENS).decoder is None
    assert load_settings().model.attention.weight == 0


def test_the_exported_file_is_that_of_the_network_alone():
    made = joint_recognizer(recurrent={"direction": "forward", "layers": 1, "hidden": 8})
    alone = RecognizerModel(made.settings, made.tokens, made.network)
    exported = build_file(made)
    assert exported.SerializeToString() == build_file(alone).SerializeToString()
    network, x = OnnxStage(exported.SerializeToString(), RECOGNIZER), some_features()
    y, _ = network.step(Padded(x[None], np.array([len(x)])), network.initial_state(1), last=True)
    expected, _ = made.network.step(padded(x), made.network.initial_state(1), last=True)
    assert_close(torch.from_numpy(y.data), expected.data, atol=1e-4, rtol=1e-4)  # two runtimes' sums


def joint_recognizer(**changes):
    model = {"front_end": FRONT_END, "recurrent": {"layers": 1, "hidden": 8}, "attention": SMALL}
    model["attention"] = model["attention"] | {k: v for k, v in changes.items() if k in SMALL}
    model |= {k: v for k, v in changes.items() if k not in SMALL}
    torch.manual_seed(0)
    made = new_recognizer(tiny.settings(model=model), tiny.TOKENS)
    made.trained.eval()
    return made


def some_features():
    return np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)


def padded(x):
    return Padded(torch.from_numpy(x)[None], torch.tensor([len(x)]))
