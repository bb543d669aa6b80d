"""recipes/digits_voice with a made-up corpus: every stage, end to end, in seconds."""

from pathlib import Path

import pytest
import soundfile

import recipe_local
from digit_tones import write_corpus
from recitative.data.directory import DataDirectory

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "digits_voice"
TINY = "train.epochs=1 train.threads=1 model.width=8 model.recurrent.hidden=8 train.warmup_steps=1"
TINY_VOCODER = f"{TINY} model.condition_width=8 model.recurrent.projection=4 segments.dev_s=1"
TINY_JUDGE = "train.epochs=1 train.threads=1 train.workers=0 model.recurrent.hidden=8 model.recurrent.layers=1"


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_recipe):
    folder = tmp_path_factory.mktemp("digits_voice")
    corpus = write_corpus(folder / "corpus", digits=3)
    done = run_recipe("digits_voice", folder, "--corpus", corpus, "--train-args", TINY, "--vocoder-args", TINY_VOCODER,
                      "--judge-args", TINY_JUDGE)  # fmt: skip
    return folder, done


def test_every_stage_is_done(run):
    _, done = run
    recipe_local.assert_done(done, "prepare", "check", "train", "sample", "score", "export", "speed")
    assert "on one thread" in done.stdout


def test_for_each_test_recording_one_was_drawn_of_its_text_speaker_and_length(run):
    folder, _ = run
    real = DataDirectory.read(folder / "data" / "test")
    drawn = DataDirectory.read(folder / "exp" / "voice" / "test")
    assert drawn.texts == real.texts
    assert drawn.utt2spk == real.utt2spk
    lengths = [[soundfile.info(u.recording_path).frames for u in data.utterances] for data in (real, drawn)]
    assert lengths[0] == lengths[1]


def test_what_is_heard_in_both_is_in_the_table(run):
    folder, _ = run
    table = (folder / "RESULTS.md").read_text()
    assert "| recordings | test | transcribed by the judge |" in table
    assert "| voice | test | transcribed by the judge |" in table


def test_the_sets_are_by_the_index_and_share_no_recording(run):
    folder, _ = run
    sets = {name: DataDirectory.read(folder / "data" / name) for name in ("train", "dev", "test")}
    assert [len(data.utterances) for data in sets.values()] == [12, 30, 30]
    assert {u.utt_id[-2:] for u in sets["test"].utterances} == {f"0{i}" for i in range(5)}


def test_a_misnamed_recording_is_named(tmp_path, run_recipe):
    corpus = write_corpus(tmp_path / "corpus", digits=3)
    (corpus / "recordings" / "hello.wav").write_bytes(b"")
    done = run_recipe("digits_voice", tmp_path, "--corpus", corpus, "--stop-stage", "1")
    assert done.returncode == 1
    assert "hello.wav: has another name; {digit}_{speaker}_{index}; rename or remove it" in done.stderr
