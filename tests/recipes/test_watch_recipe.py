"""recipes/watch with a made-up corpus: every stage, end to end, in seconds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import recipe_local
from recitative.data.directory import DataDirectory

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "watch"
TINY = (
    "train.epochs=1 train.threads=1 train.warmup_steps=1 model.recurrent.hidden=8 features.num_mel_bins=8 "
    "detection.window_s=0.4"
)


def write_corpus(folder):
    """Two kinds of sound, of each two takes of one clip in every fold: tones of 44.1 kHz."""
    rng = np.random.default_rng(0)
    for number, kind in enumerate(("Low hum", "Whistle"), start=1):
        (folder / f"00{number} - {kind}").mkdir(parents=True)
        for fold in range(1, 6):
            for take in "AB":
                t = np.arange(44100) / 44100
                samples = 0.3 * np.sin(2 * np.pi * 400 * number**2 * t) + 0.01 * rng.standard_normal(len(t))
                name = f"{fold}-{1000 * number + fold}-{take}.ogg"
                soundfile.write(folder / f"00{number} - {kind}" / name, samples, 44100)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_recipe):
    folder = tmp_path_factory.mktemp("watch")
    corpus = write_corpus(folder / "corpus")
    done = run_recipe("watch", folder, "--corpus", corpus, "--train-args", TINY, "--models", "usual")
    return folder, done


def test_every_stage_is_done(run):
    _, done = run
    recipe_local.assert_done(done, "prepare", "check", "train", "score", "export")
    assert "usual: ratio    mean AUC" in done.stdout


def test_nothing_unusual_is_trained_on_and_no_clip_is_in_two_sets(run):
    folder, _ = run
    for kind, where in (("low_hum", "usual"), ("whistle", "held_out")):
        sets = {name: DataDirectory.read(folder / "data" / where / kind / name) for name in
                ("train", "dev", "test", "unusual")}  # fmt: skip
        assert {name: set(data.texts.values()) for name, data in sets.items()} == {
            "train": {"low_hum"}, "dev": {"low_hum"}, "test": {"low_hum"}, "unusual": {"whistle"},
        }  # fmt: skip
        assert [len(data.utterances) for data in sets.values()] == [6, 2, 2, 2]
        speakers = [set(data.by_speaker) for data in sets.values()]
        assert sum(map(len, speakers)) == len(set.union(*speakers))


def test_the_table_has_every_kind_and_the_mean(run):
    folder, _ = run
    rows = [json.loads(line) for line in (folder / "exp" / "results.jsonl").read_text().splitlines()]
    areas = {(row["set"], row["decoding"]): row["value"] for row in rows}
    for how in ("ratio", "nll", "gaussian", "mean"):
        expected = (areas["low_hum", how] + areas["whistle", how]) / 2
        assert areas["mean", how] == pytest.approx(expected, abs=1e-5)
    assert "| usual | whistle | ratio | AUC |" in (folder / "RESULTS.md").read_text()


def test_the_picture_of_the_exported_file_is_there(run):
    folder, _ = run
    assert (folder / "exp" / "usual.svg").read_text().startswith("<svg")


def test_a_folder_without_kinds_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, RECIPE / "local" / "prepare.py", "--corpus", tmp_path, "--output", tmp_path / "data"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "holds 0 kinds of sound; folders such as '002 - Rain'; pass the folder of ESC-10 as --corpus" in done.stderr
