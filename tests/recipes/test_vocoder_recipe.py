"""recipes/vocoder on a few seconds of noise: every stage, end to end."""

from pathlib import Path

import small_corpus
from recitative.data.directory import DataDirectory

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "vocoder"
TINY = (
    "train.epochs=1 train.threads=1 model.width=8 model.condition_width=8 model.recurrent.hidden=8 "
    "model.recurrent.projection=4 segments.dev_s=1 train.warmup_steps=1"
)


def test_a_test_set_is_drawn_anew_and_heard_by_the_judge(tmp_path, run_recipe):
    for name in ("train", "dev", "test"):
        small_corpus.write_sounds(tmp_path / "data" / name, 16000, seconds=[0.3, 0.4], text=["yes", "no"])
    done = run_recipe("vocoder", tmp_path, "--stage", "2", "--train-args", TINY)
    assert done.returncode == 0, done.stderr[-3000:]
    assert DataDirectory.read(tmp_path / "exp" / "vocoder" / "test").texts == {"u0": "yes", "u1": "no"}
    table = (tmp_path / "RESULTS.md").read_text()
    assert "| recordings | test | transcribed by an4-streaming |" in table
    assert "| vocoder | test | transcribed by an4-streaming |" in table
    assert "on one thread" in done.stdout
