"""recipes/spoken_digits with a made-up corpus: every stage, end to end, in seconds."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import recipe_local
from digit_tones import write_corpus
from recitative.asr.alignment import read_ctm
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "spoken_digits"
TINY = (
    "train.epochs=1 train.threads=1 train.workers=0 train.warmup_steps=1 model.recurrent.hidden=8 "
    "model.recurrent.layers=1 model.front_end.channels=[2,2,2]"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_recipe):
    folder = tmp_path_factory.mktemp("spoken_digits")
    corpus = write_corpus(folder / "corpus")
    options = ("--train-args", TINY, "--synthetic", "", "--recognizer", "an4-bidirectional")
    done = run_recipe("spoken_digits", folder, "--corpus", corpus, *options)
    return folder, done


def test_every_stage_is_done(run):
    _, done = run
    recipe_local.assert_done(done, "prepare", "check", "train", "decode", "score", "folds", "export", "report", "speed")
    assert "unweighted average recall" in done.stdout
    assert "% (2 folds, " in done.stdout


def test_no_model_of_the_folds_has_heard_its_test_speaker(run):
    folder, _ = run
    for speaker, other in (("ann", "bob"), ("bob", "ann")):
        train, test = (DataDirectory.read(folder / "data" / "voices" / speaker / name) for name in ("train", "test"))
        assert (set(train.by_speaker), set(test.by_speaker)) == ({other}, {speaker})
        assert len(train.utterances) == len(test.utterances) == 24


def test_the_table_has_the_official_split_and_the_mean_of_the_folds(run):
    folder, _ = run
    table = (folder / "RESULTS.md").read_text()
    assert "| official | test | official split | % accuracy |" in table
    assert "| official | test | official split, model.onnx | % accuracy |" in table
    assert "| official | noise | model.onnx, one thread | real-time factor of a file |" in table
    assert "<h1>Spoken digits: official, the test set</h1>" in (folder / "exp" / "official" / "report.html").read_text()
    assert "| new_voice | one speaker left out | mean of the folds | % accuracy |" in table
    assert "| new_voice | one speaker left out | mean of the folds, all speeds | % accuracy |" in table
    folds = [json.loads(path.read_text()) for path in (folder / "exp" / "new_voice").glob("*/score.json")]
    rows = [json.loads(line) for line in (folder / "exp" / "results.jsonl").read_text().splitlines()]
    mean = next(row["value"] for row in rows if row["decoding"] == "mean of the folds")
    assert mean == pytest.approx(100 * np.mean([fold["accuracy"] for fold in folds]), abs=1e-3)


def test_a_recognizer_gets_words_between_pauses_at_its_rate_and_a_grammar_of_them(run):
    folder, _ = run
    data = folder / "data"
    assert (data / "words.txt").read_text() == "one\nzero\n"
    word = soundfile.info(str(folder / "corpus" / "recordings" / "1_ann_3.wav"))
    framed, samples = (soundfile.info(str(path)) for path in (
        data / "framed" / "test" / "1_ann_3.flac", *(data / "spoken" / "test" / "audio").glob("*1_ann_3.flac")
    ))  # fmt: skip
    assert (framed.samplerate, framed.frames) == (8000, word.frames + 2 * 2400)
    assert samples.samplerate == 16000
    heard = {
        word for line in (folder / "exp" / "recognizer" / "text").read_text().splitlines() for word in line.split()[1:]
    }
    assert heard <= {"one", "zero"}
    assert "| an4-bidirectional | test | grammar of the ten digits | %WER |" in (folder / "RESULTS.md").read_text()


def test_models_for_new_voices_hear_digits_of_other_sentences(monkeypatch, tmp_path, run_recipe):
    [digits] = recipe_local.load("digits", "prepare", monkeypatch=monkeypatch)
    digits.prepare(ROOT / "recipes" / "digits" / "corpus", tmp_path / "said", 2)
    corpus = write_corpus(tmp_path / "corpus")
    sentences = ["--synthetic", "", "--sentences", f"{tmp_path}/said/dev {tmp_path}/said/test"]
    done = run_recipe("spoken_digits", tmp_path, "--corpus", corpus, *sentences, "--stop-stage", "1")
    assert done.returncode == 0, done.stderr[-3000:]
    others = DataDirectory.read(tmp_path / "data" / "others")
    assert {u.text for u in others.utterances} == {"zero", "one"}, "the labels, of all that is said"
    fold, taught = (DataDirectory.read(tmp_path / "data/voices/ann" / name) for name in ("train", "with_others"))
    assert len(taught.utterances) == len(fold.utterances) + len(others.utterances)
    assert "ann" not in taught.by_speaker


@pytest.fixture
def words(monkeypatch):
    return recipe_local.load("spoken_digits", "words", monkeypatch=monkeypatch)[0]


def write_sentence(folder):
    """Three tones of 0.3 s, the first two with 0.1 s between them, the others side by side with a dip."""
    tone = 0.3 * np.sin(np.arange(4800) * 0.3)
    dip = tone * np.minimum(1, np.arange(4800) / 320)
    sound = np.concatenate([tone, np.zeros(1600), tone[::-1], dip])
    soundfile.write(folder / "s.wav", sound, 16000, subtype="PCM_16")
    DataDirectory((Utterance("ann-s", "ann", str(folder / "s.wav"), text="one two three"),)).write(folder / "data")
    return DataDirectory.read(folder / "data")


def test_words_are_cut_where_it_is_quietest_between_them(words, tmp_path):
    data = write_sentence(tmp_path)
    ctm = tmp_path / "words.ctm"
    ctm.write_text("ann-s 1 0.05 0.15 one 0.9\nann-s 1 0.45 0.2 two 0.8\nann-s 1 0.75 0.2 three 0.2\n")
    times = read_ctm(ctm)
    assert words.cut_words(data, times, 8000, tmp_path / "words") == 2, "the third is doubted"
    found = DataDirectory.read(tmp_path / "words").utterances
    assert [(u.utt_id, u.speaker, u.text) for u in found] == [("ann-s-0", "ann", "one"), ("ann-s-1", "ann", "two")]
    first, second = (soundfile.info(u.recording_path).duration for u in found)
    assert 0.3 < first < 0.4
    assert first + second == pytest.approx(0.7, abs=0.03)
    assert soundfile.info(found[0].recording_path).samplerate == 8000


def test_only_the_words_asked_for_are_cut(words, tmp_path):
    data = write_sentence(tmp_path)
    ctm = tmp_path / "words.ctm"
    ctm.write_text("ann-s 1 0.05 0.15 one 0.9\nann-s 1 0.45 0.2 two 0.8\nann-s 1 0.75 0.2 three 0.9\n")
    assert words.cut_words(data, read_ctm(ctm), 8000, tmp_path / "words", {"two"}) == 1
    assert [u.utt_id for u in DataDirectory.read(tmp_path / "words").utterances] == ["ann-s-1"]


def test_sentences_without_times_have_no_words_to_cut(words, tmp_path):
    with pytest.raises(DataError, match="words: would hold no utterances; at least one"):
        words.cut_words(write_sentence(tmp_path), {}, 8000, tmp_path / "words")
