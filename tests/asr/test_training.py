"""Training a recognizer end to end on tones, interrupted and not; what is refused before it starts."""

import json

import pytest
import tiny
import torch

from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import new_transcriber
from recitative.asr.recognizer import decode_directory
from recitative.asr.task import RecognitionTask, average_best, take_last
from recitative.atomic import one_writer
from recitative.cli.main import app
from recitative.config import RecognizerData, load_settings
from recitative.errors import DataError, RunError, UsageError
from recitative.model.folder import load_model
from recitative.text.tokens import TokenTable
from recitative.train.checkpoint import Checkpoints, average_weights
from recitative.train.run import train_model
from resuming import assert_resumes

AUGMENT = {"speeds": [0.9, 1.0, 1.1], "volume_db": [-6, 6], "spec_augment": {"freq_masks": 1, "freq_width": 2}}


def test_a_text_that_cannot_fit_is_refused_before_training(tmp_path):
    config = tiny.settings()
    paths = tiny.write_inputs(tmp_path, config)
    text = paths["train"] / "text"
    lines = text.read_text().splitlines()
    name = lines[0].split()[0]
    text.write_text("\n".join([f"{name} {'a' * 300}", *lines[1:]]) + "\n")
    with pytest.raises(DataError, match=f"utterance '{name}': .* for 300 labels; at least 599"):
        train_model(RECOGNIZER, config, RecognizerData(**paths), tmp_path / "exp", quiet=True)
    assert not (tmp_path / "exp").exists()


def test_a_corpus_at_another_sample_rate_is_refused(tmp_path):
    config = tiny.settings()
    paths = tiny.write_inputs(tmp_path, config)
    other = tiny.settings(features={"sample_rate": 8000, "num_mel_bins": 8})
    with pytest.raises(DataError, match=r"4000 Hz; 8000 Hz \(features.sample_rate\)"):
        train_model(RECOGNIZER, other, RecognizerData(**paths), tmp_path / "exp", quiet=True)


def test_a_folder_with_another_run_is_not_overwritten(tmp_path):
    config = tiny.settings()
    paths = RecognizerData(**tiny.write_inputs(tmp_path, config))
    train_model(RECOGNIZER, config, paths, tmp_path / "exp", quiet=True)
    with pytest.raises(UsageError, match="holds a run with other settings"):
        train_model(RECOGNIZER, tiny.settings(train={"epochs": 3}), paths, tmp_path / "exp", quiet=True)
    (tmp_path / "exp" / "settings.yaml").write_text("")  # as a kill could leave it; the checkpoint knows its settings
    with pytest.raises(UsageError, match="checkpoint of a run with other settings"):
        train_model(RECOGNIZER, tiny.settings(train={"epochs": 3}), paths, tmp_path / "exp", quiet=True)
    train_model(RECOGNIZER, config, paths, tmp_path / "exp", quiet=True)
    assert load_settings(tmp_path / "exp" / "settings.yaml") == config
    TokenTable(("<blank>", " ", "c", "b", "a")).write(paths.tokens)  # their number fits
    with pytest.raises(UsageError, match="other settings or tokens"):
        train_model(RECOGNIZER, config, paths, tmp_path / "exp", quiet=True)
    with pytest.raises(UsageError, match="other settings or tokens"):
        average_best(tmp_path / "exp")


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_end_of_a_run_is_a_model_too(tmp_path, ema):
    config = tiny.settings(train={"epochs": 2, "ema": ema})
    paths = RecognizerData(**tiny.write_inputs(tmp_path, config))
    progress = train_model(RECOGNIZER, config, paths, tmp_path / "exp", quiet=True).progress
    assert take_last(tmp_path / "exp") == progress.step
    last = load_model(tmp_path / "exp" / "model", RECOGNIZER).trained.state_dict()
    evaluated = average_weights([Checkpoints(tmp_path / "exp").epoch_path(1)])
    assert all(torch.equal(value, evaluated[name]) for name, value in last.items())


def test_while_a_folder_is_written_to_nobody_else_trains_averages_or_tunes_there(tmp_path):
    config = tiny.settings(train={"epochs": 1})
    paths = RecognizerData(**tiny.write_inputs(tmp_path, config))
    train_model(RECOGNIZER, config, paths, tmp_path / "exp", quiet=True)
    average_best(tmp_path / "exp")
    model, dev = str(tmp_path / "exp" / "model"), str(paths.dev)
    with one_writer(tmp_path / "exp"):
        for other in (
            lambda: train_model(RECOGNIZER, config, paths, tmp_path / "exp", quiet=True),
            lambda: average_best(tmp_path / "exp"),
            lambda: app(["tune", model, dev], standalone_mode=False),
        ):
            with pytest.raises(RunError, match=r"exp: process .* is writing to it"):
                other()
        output = str(tmp_path / "exp" / "decode")  # a folder of its own
        app(["decode", model, dev, "--output", output], standalone_mode=False)
        with one_writer(tmp_path / "exp" / "decode"), pytest.raises(RunError, match=r"decode: process .* is writing"):
            app(["decode", model, dev, "--output", output], standalone_mode=False)


def test_interrupted_in_mid_epoch_with_augmentation_the_weights_are_the_same(tmp_path):
    recurrent = {"layers": 2, "hidden": 8, "dropout": 0.3}
    config = tiny.settings(augment=AUGMENT, model={"front_end": {"window": 4, "stride": 4}, "recurrent": recurrent})
    assert_resumes(RECOGNIZER, config, RecognizerData(**tiny.write_inputs(tmp_path, config)), tmp_path, RecognitionTask)


def test_it_learns_tones_and_the_averaged_model_decodes_them_whole_and_in_pieces(tmp_path):
    recurrent = {"direction": "forward", "layers": 1, "hidden": 32}
    config = tiny.settings(
        model={"front_end": {"window": 4, "stride": 4}, "recurrent": recurrent, "lookahead_frames": 2},
        train={"epochs": 30, "batch_s": 2.0, "learning_rate": 0.01, "workers": 0, "device": "cpu", "warmup_steps": 5},
    )
    paths = RecognizerData(**tiny.write_inputs(tmp_path, config, train=40, dev=8))
    progress = train_model(RECOGNIZER, config, paths, tmp_path / "exp", quiet=True).progress
    average = average_best(tmp_path / "exp")
    assert average.tried[average.chosen]["dev_cer"] < 0.2, f"CER {average.tried}, best {progress.best}"
    transcriber = new_transcriber(load_model(tmp_path / "exp" / "model", RECOGNIZER))
    decode_directory(transcriber, paths.dev, tmp_path / "whole")
    decode_directory(transcriber, paths.dev, tmp_path / "pieces", chunk_ms=30)
    assert (tmp_path / "whole" / "text").read_bytes() == (tmp_path / "pieces" / "text").read_bytes()
    whole, pieces = ((tmp_path / name / "tokens.jsonl").read_text() for name in ("whole", "pieces"))
    assert whole == pieces
    assert json.loads(whole.splitlines()[0])["tokens"]
