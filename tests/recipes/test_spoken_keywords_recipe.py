"""recipes/spoken_keywords with a made-up corpus: every stage, end to end, in seconds; streams and their times."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

import recipe_local
from digit_tones import write_corpus
from recitative.asr.alignment import read_word_times
from recitative.audio.files import read_audio
from recitative.data.directory import DataDirectory

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "spoken_keywords"
TINY = "train.epochs=1 train.threads=1 train.warmup_steps=1 model.recurrent.hidden=8 model.front_end.channels=[2,2]"


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_recipe):
    folder = tmp_path_factory.mktemp("spoken_keywords")
    (folder / "words.txt").write_text("zero\none\n")
    arguments = ["--corpus", write_corpus(folder / "corpus"), "--words", folder / "words.txt", "--rounds", 2]
    done = run_recipe("spoken_keywords", folder, *arguments, "--train-args", TINY)
    return folder, done


def test_every_stage_is_done(run):
    folder, done = run
    recipe_local.assert_done(done, "prepare", "check", "train", "tune", "score", "speed")
    table = (folder / "RESULTS.md").read_text()
    assert "| small | test streams | all digits, model.onnx | % missed |" in table
    assert "| small | noise | model.onnx, one thread | real-time factor of a file |" in table
    scored = json.loads((folder / "exp" / "small" / "test" / "keywords.json").read_text())
    assert scored["all"]["occurrences"] == 2 * 2 * 10  # rounds, speakers, words of each


def test_a_stream_holds_each_word_of_its_speaker_where_it_says(run):
    folder, _ = run
    words = {u.text: read_audio(u.recording_path)[0] for u in DataDirectory.read(folder / "data/words/test").utterances}
    streams = folder / "data" / "test_streams"
    utterances = DataDirectory.read(streams).utterances
    assert [u.utt_id for u in utterances] == ["ann-000", "ann-001", "bob-000", "bob-001"]
    times = read_word_times(streams, utterances)
    for utterance in utterances:
        samples, rate = read_audio(utterance.recording_path)
        assert sorted(utterance.text.split()) == ["one"] * 5 + ["zero"] * 5
        for word, (start_s, end_s) in zip(utterance.text.split(), times[utterance.utt_id], strict=True):
            inside = np.abs(np.fft.rfft(samples[round(start_s * rate) : round(end_s * rate)]))
            tone = np.abs(np.fft.rfft(words[word]))
            assert inside.argmax() / len(inside) == pytest.approx(tone.argmax() / len(tone), abs=0.01)
        pauses = [after[0] - before[1] for before, after in pairwise(times[utterance.utt_id])]
        assert 0.09 < min(pauses) < max(pauses) < 1.01
    assert utterances[0].text != utterances[1].text, "every round has its own order"


def test_examples_of_the_filler_are_beginnings_and_quiet_and_what_is_no_end_of_a_word(run):
    folder, _ = run
    train = DataDirectory.read(folder / "data" / "train").utterances
    length = {u.utt_id: u.end_s for u in train}
    fillers = [u for u in train if u.text == "_filler_"]
    assert {u.utt_id.split("-")[-1] for u in fillers if u.speaker != "quiet"} == {"beginning"}
    for u in fillers:
        if u.speaker != "quiet":
            assert 0.149 <= u.end_s / length[u.utt_id.removesuffix("-beginning")] <= 0.501
    times = {"ann": 0, "bob": 0}
    dev = DataDirectory.read(folder / "data" / "dev").utterances
    for u in dev:
        what = u.utt_id.split("-")[-1]
        assert (u.text == "_filler_") == (what != "word")
        assert u.end_s - u.start_s <= 2.001
        times[u.speaker] += what == "word"
    assert times == {"ann": 10, "bob": 10}, "the first round alone"


def test_a_folder_of_two_rates_is_refused(tmp_path, monkeypatch, capsys):
    (streams,) = recipe_local.load("spoken_keywords", "streams", monkeypatch=monkeypatch)
    corpus = write_corpus(tmp_path)
    soundfile.write(corpus / "other.wav", np.zeros(4000), 16000)
    utterances = [
        streams.Utterance("ann-a", "ann", str(corpus / "recordings" / "0_ann_0.wav"), text="zero"),
        streams.Utterance("ann-b", "ann", str(corpus / "other.wav"), text="one"),
    ]
    with pytest.raises(streams.DataError, match=r"ann: has recordings of \[8000, 16000\] Hz; one rate; resample them"):
        streams.join(utterances, np.random.default_rng(0))
