"""Runs that begin with another model's weights, and weights that stay as they are."""

import pytest
import tiny
import torch

from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import new_recognizer
from recitative.asr.task import freeze, start_from
from recitative.config import RecognizerData
from recitative.errors import UsageError
from recitative.model.folder import load_model, save_model
from recitative.nn.ragged import take_valid
from recitative.stage import Padded
from recitative.text.tokens import TokenTable
from recitative.train.checkpoint import Checkpoints, average_weights
from recitative.train.run import train_model


@pytest.fixture
def old(tmp_path):
    made = tiny.recognizer(seed=3)
    save_model(made, tmp_path / "old")
    return made, tmp_path / "old"


def test_all_weights_are_taken_over_with_the_same_tokens(old):
    made, folder = old
    new = new_recognizer(made.settings, made.tokens)
    inherited = start_from(new, folder)
    assert inherited.new == ()
    for name, value in made.trained.state_dict().items():
        assert torch.equal(new.trained.state_dict()[name], value), name


def test_with_other_tokens_the_output_rows_of_those_that_both_know_are_taken_over(old):
    made, folder = old
    tokens = TokenTable(("<blank>", "b", "d", " ", "c"))
    torch.manual_seed(9)
    new = new_recognizer(made.settings, tokens)
    fresh = {name: value.clone() for name, value in new.trained.state_dict().items()}
    inherited = start_from(new, folder)
    assert (inherited.known, inherited.new) == (("b", " ", "c"), ("d",))
    assert str(inherited) == "outputs of 3 tokens taken over, 1 begin at random: d"
    before, after = (dict(model.trained.state_dict()) for model in (made, new))
    for name in ("stages.head.linear.weight", "stages.head.linear.bias"):
        for symbol in ("<blank>", "b", " ", "c"):
            assert torch.equal(after[name][tokens.ids.get(symbol, 0)], before[name][made.tokens.ids.get(symbol, 0)])
        assert torch.equal(after[name][tokens.ids["d"]], fresh[name][tokens.ids["d"]])
    for name in before.keys() - {"stages.head.linear.weight", "stages.head.linear.bias"}:
        assert torch.equal(after[name], before[name]), name


def test_another_network_is_refused_with_what_differs(old):
    made, folder = old
    settings = tiny.settings(model={"front_end": {"window": 4, "stride": 4}, "recurrent": {"layers": 2, "hidden": 12}})
    with pytest.raises(UsageError, match=r"--init .*: has nothing for stages.core.layers.1"):
        start_from(new_recognizer(settings, made.tokens), folder)
    settings = tiny.settings(model={"front_end": {"window": 4, "stride": 4}, "recurrent": {"layers": 1, "hidden": 13}})
    with pytest.raises(UsageError, match=r"--init .*: has \(48, 32\) for .*weight_ih_l0, not \(52, 32\)"):
        start_from(new_recognizer(settings, made.tokens), folder)


@pytest.mark.parametrize("direction", ["bidirectional", "latency_controlled"])
def test_a_core_with_backward_cells_begins_as_the_forward_one(tmp_path, direction):
    made, new = (
        tiny.recognizer(seed, recurrent={"layers": 2, "hidden": 12, "direction": way, "projection": width})
        for seed, way, width in ((3, "forward", 0), (4, direction, 12))
    )
    save_model(made, tmp_path / "old")
    start_from(new, tmp_path / "old")
    features = Padded(torch.randn(2, 40, made.settings.features.dim), torch.tensor([40, 25]))
    with torch.no_grad():
        expected, found = (model.log_probs(model.encode(features)) for model in (made, new))
    assert torch.equal(found.lengths, expected.lengths)
    torch.testing.assert_close(take_valid(found), take_valid(expected))
    weights = new.trained.state_dict()
    assert weights["stages.core.layers.1.backward_cell.rnn.weight_hh_l0"].abs().max() > 0.1


def test_other_features_are_refused(old):
    made, folder = old
    settings = tiny.settings(features=made.settings.features.model_dump() | {"low_freq_hz": 50.0})
    with pytest.raises(UsageError, match="hears other features"):
        start_from(new_recognizer(settings, made.tokens), folder)


def test_frozen_weights_stay_through_training_and_the_others_move(tmp_path, old):
    made, folder = old
    config = tiny.settings(train={"freeze": ["stages.core"], "epochs": 1, "workers": 0, "device": "cpu"})
    paths = tiny.write_inputs(tmp_path, config)
    del paths["cmvn"]  # the normalization is the old model's, too
    train_model(RECOGNIZER, config, RecognizerData(**paths, init=folder), tmp_path / "exp", quiet=True)
    after = average_weights([Checkpoints(tmp_path / "exp").epoch_path(0)])
    for name, value in made.trained.state_dict().items():
        stays = "core" in name or "normalize" in name
        assert torch.equal(after[name], value) == stays, name


def test_a_name_that_no_weight_has_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"starts with 'core'; there are stages.core.layers.0.*stages.head.linear"):
        freeze(tiny.recognizer().trained, ["core"])


def test_nothing_left_to_train_is_refused():
    with pytest.raises(UsageError, match="leaves nothing to train"):
        freeze(tiny.recognizer().trained, ["stages"])


def test_without_statistics_and_without_a_model_to_begin_with_there_is_no_normalization(tmp_path):
    config = tiny.settings()
    paths = tiny.write_inputs(tmp_path, config)
    del paths["cmvn"]
    with pytest.raises(UsageError, match="--cmvn: is needed without --init"):
        train_model(RECOGNIZER, config, RecognizerData(**paths), tmp_path / "exp", quiet=True)


def test_a_model_is_taught_by_another_and_ends_nearer_to_it(tmp_path):
    from recitative.asr.data import load_teacher
    from recitative.train.run import read_inputs

    config = tiny.settings(train={"epochs": 6, "batch_s": 3.0, "workers": 0, "device": "cpu", "warmup_steps": 2},
                           distill={"weight": 1.0})  # fmt: skip
    paths = tiny.write_inputs(tmp_path, config)
    save_model(tiny.recognizer(seed=5), tmp_path / "teacher")
    train_model(RECOGNIZER, config, RecognizerData(**paths, teacher=tmp_path / "teacher"), tmp_path / "exp", quiet=True)
    teacher = load_teacher(tmp_path / "teacher", load_model(tmp_path / "teacher", RECOGNIZER), torch.device("cpu"))
    assert teacher.delay_frames == 0
    assert read_inputs(tmp_path / "exp", RECOGNIZER).teacher == tmp_path / "teacher"
    import json

    lines = [json.loads(line) for line in (tmp_path / "exp" / "train.jsonl").read_text().splitlines()]
    epochs = [line["train_loss"] for line in lines if line["event"] == "epoch"]
    assert epochs[-1] < 0.75 * epochs[0]


def test_a_teacher_of_other_tokens_is_refused(tmp_path):
    from recitative.asr.data import load_teacher

    save_model(tiny.recognizer(), tmp_path / "teacher")
    student = new_recognizer(tiny.settings(), TokenTable(("<blank>", "x")))
    with pytest.raises(UsageError, match=r"--teacher .*: has other tokens; the student's tokens, features"):
        load_teacher(tmp_path / "teacher", student, torch.device("cpu"))


def test_audio_without_transcripts_teaches_too(tmp_path):
    config = tiny.settings(train={"epochs": 2, "batch_s": 2.0, "workers": 0, "device": "cpu", "warmup_steps": 2})
    paths = tiny.write_inputs(tmp_path, config)
    more = tiny.write_corpus(tmp_path / "more", 9, 11)
    (more / "text").unlink()
    save_model(tiny.recognizer(seed=5), tmp_path / "teacher")
    taught = RecognizerData(**paths, teacher=tmp_path / "teacher", unlabeled=more)
    progress = train_model(RECOGNIZER, config, taught, tmp_path / "exp", quiet=True).progress
    alone = train_model(RECOGNIZER, config, RecognizerData(**paths), tmp_path / "alone", quiet=True).progress
    assert progress.audio_s > 1.5 * alone.audio_s
    assert progress.skipped == 0
    with pytest.raises(UsageError, match="needs a --teacher, who says what is in it"):
        train_model(RECOGNIZER, config, RecognizerData(**paths, unlabeled=more), tmp_path / "none", quiet=True)
