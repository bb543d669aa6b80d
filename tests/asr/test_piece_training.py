"""A recognizer of sentence pieces from transcripts to text: trained, averaged, decoded, aligned, exported."""

import json

import numpy as np
import pytest
import tiny

from command_line import run
from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import new_transcriber
from recitative.asr.recognizer import Recognizer
from recitative.data.directory import DataDirectory
from recitative.model.folder import load_model
from recitative.text.tokens import TokenTable

FORWARD = {"recurrent": {"direction": "forward", "layers": 1, "hidden": 16}, "lookahead_frames": 2}
PIECES = TokenTable.of_pieces(
    {" ": -3.0, "a": -2.0, "b": -2.1, "c": -2.2, " a": -2.5, " b": -2.6, "ab": -2.7, " ca": -3.0}
)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Two epochs and their average, with weights large enough to say something, and a lexicon and language model."""
    folder = tmp_path_factory.mktemp("pieces")
    train = {"epochs": 2, "batch_s": 3.0, "workers": 0, "device": "cpu", "warmup_steps": 2, "threads": 1}
    config = tiny.settings(model={"front_end": {"window": 4, "stride": 4}, **FORWARD}, train=train)
    paths = tiny.write_inputs(folder, config, train=6, dev=3)
    PIECES.write(folder / "tokens.txt")
    (folder / "conf.yaml").write_text(json.dumps(config.model_dump(mode="json")))  # JSON is YAML
    places = ("--train", paths["train"], "--dev", paths["dev"], "--tokens", folder / "tokens.txt")
    run("check", paths["train"], "--tokens", folder / "tokens.txt", "--conf", folder / "conf.yaml")
    run(
        "train", *places, "--cmvn", paths["cmvn"], "--conf", folder / "conf.yaml", "--quiet", "--output", folder / "exp"
    )
    run("average", folder / "exp")
    run("lexicon", paths["train"], paths["dev"], "--tokens", folder / "tokens.txt", "--output", folder / "lexicon.txt")
    run("lm", "train", paths["train"], paths["dev"], "--order", 2, "--output", folder / "lm.arpa")
    return folder


def test_the_trained_model_keeps_its_pieces_and_their_scores(experiment):
    assert load_model(experiment / "exp" / "model", RECOGNIZER).tokens == PIECES


@pytest.mark.parametrize("with_language", [False, True], ids=["greedy", "lexicon and n-gram"])
def test_pieces_of_audio_give_the_text_and_times_of_whole_recordings(experiment, tmp_path, with_language):
    options = ("--lm", experiment / "lm.arpa", "--lexicon", experiment / "lexicon.txt") if with_language else ()
    command = ("decode", experiment / "exp" / "model", experiment / "dev" / "data", *options)
    run(*command, "--output", tmp_path / "whole")
    run(*command, "--output", tmp_path / "pieces", "--chunk-ms", 30)
    assert (tmp_path / "whole" / "text").read_bytes() == (tmp_path / "pieces" / "text").read_bytes()


def test_tuning_and_export_take_the_pieces_along(experiment, tmp_path):
    model, dev = experiment / "exp" / "model", experiment / "dev" / "data"
    run("tune", model, dev, "--lm", experiment / "lm.arpa", "--lexicon", experiment / "lexicon.txt")
    run("export", model, "--output", tmp_path / "m.onnx", "--weights", "float32")
    files = [u.recording_path for u in DataDirectory.read(dev).utterances]
    texts = [
        [json.loads(line)["text"] for line in run(*command, "--format", "jsonl", "--jobs", 1).lines]
        for command in (("transcribe", *files, "--model", place) for place in (tmp_path / "m.onnx", model))
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == len(files)


def test_an_exported_file_that_talks_says_what_the_network_says(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "TOKENS", PIECES)
    from recitative.model.export import export_checked

    made = tiny.recognizer(seed=2, **FORWARD)
    export_checked(made, tmp_path / "m.onnx", dev=None, weights="float32")
    recognizer, transcriber = Recognizer.load(tmp_path / "m.onnx"), new_transcriber(made)
    for seed in range(3):
        samples = tiny.speak("cab bca b ac", np.random.default_rng(seed))
        words = recognizer.transcribe(samples, tiny.RATE).words
        [spoken] = transcriber.transcribe([samples])
        assert [(w.word, w.start_s, w.end_s) for w in words] == [(w.word, w.start_s, w.end_s) for w in spoken.words]
        assert words, "otherwise the test could not fail"
        assert " ".join(w.word for w in words) == " ".join("".join(t.token for t in spoken.tokens).split())


def test_alignment_places_every_word_of_the_transcript(experiment, tmp_path):
    run("align", experiment / "exp" / "model", experiment / "dev" / "data", "--format", "json", "--output", tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "alignment.jsonl").read_text().splitlines()]
    texts = DataDirectory.read(experiment / "dev" / "data").texts
    for row in rows:
        assert [word["word"] for word in row["words"]] == texts[row["utt_id"]].split()
        assert PIECES.split(texts[row["utt_id"]]) == [token["token"] for token in row["tokens"]]
        ends = [time for word in row["words"] for time in (word["start_s"], word["end_s"])]
        assert ends == sorted(ends)
    assert rows
