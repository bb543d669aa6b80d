"""The digits recipe from its first stage to its last, on two recordings of each voice with models of a few weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import recipe_local
from recitative.data.directory import DataDirectory

Run = Callable[..., subprocess.CompletedProcess[str]]
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "digits"
TINY = (
    "train.epochs=1 train.threads=1 train.workers=0 train.device=cpu model.recurrent.hidden=8 model.recurrent.layers=1"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_recipe: Run) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("digits")
    return folder, run_recipe("digits", folder, "--subset", "2", "--train-args", TINY)


def test_every_stage_is_done(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = run
    stages = ("prepare", "check", "features", "language model", "train", "average", "decode", "score", "stream")
    recipe_local.assert_done(done, *stages, "export", "report")


def test_every_number_is_in_the_table_with_what_made_it(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    rows = [json.loads(line) for line in (folder / "exp" / "results.jsonl").read_text().splitlines()]
    rates = ["%WER", "%CER", "%SER"]
    measured = {"beam": rates, "-": ["minutes"], "beam, 2-gram": [*rates, "ECE", "NCE"]}
    assert [(row["model"], row["decoding"], row["metric"]) for row in rows] == [
        (model, decoding, metric)
        for model in ("blstm", "lstm")
        for decoding in measured
        for metric in measured[decoding]
    ]
    assert {row["set"] for row in rows} == {"test", "train"}
    assert all(row["seconds"] > 0 and row["settings"] != "-" for row in rows)
    assert all(row["command"].startswith("recipes/digits/run.sh --data") for row in rows)
    table = (folder / "RESULTS.md").read_text()
    assert "| model | set | decoding | metric | value | counts | command | commit | settings |" in table
    assert table.count("\n| blstm | test | beam, 2-gram | %WER |") == 1


def test_the_streaming_model_hears_the_same_in_pieces(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = run
    whole, pieces = (folder / "exp" / "lstm" / f"{name}_test" / "text" for name in ("decode", "stream"))
    assert whole.read_bytes() == pieces.read_bytes()
    assert len(whole.read_text().splitlines()) == 12
    assert "lstm: the text from chunks of 160 ms equals the text of whole recordings" in done.stdout
    assert not (folder / "exp" / "blstm" / "stream_test").exists()


def test_each_experiment_has_its_report(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    assert all((folder / "exp" / model / "report.html").stat().st_size > 1000 for model in ("blstm", "lstm"))


def test_a_later_stage_runs_alone_on_what_is_there(
    run: tuple[Path, subprocess.CompletedProcess[str]], run_recipe: Run
) -> None:
    folder, _ = run
    recipe_local.assert_rows_are_replaced(folder, run_recipe, "digits", "--models", "lstm")


def test_the_sets_share_no_voice_and_lose_no_recording(tmp_path: Path) -> None:
    command = [sys.executable, str(RECIPE / "local" / "prepare.py")]
    command += ["--corpus", str(RECIPE / "corpus"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    sets = {name: DataDirectory.read(tmp_path / name) for name in ("train", "dev", "test")}
    assert {name: len(data.utterances) for name, data in sets.items()} == {"train": 684, "dev": 108, "test": 108}
    assert {name: len(data.by_speaker) for name, data in sets.items()} == {"train": 19, "dev": 3, "test": 6}
    assert len(set().union(*(data.by_speaker for data in sets.values()))) == 28
    assert all(u.utt_id.startswith(u.speaker) for data in sets.values() for u in data.utterances)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "manifest.tsv: does not exist; pass the folder of the corpus as --corpus"),
        ("a\tb\n", "manifest.tsv:1: other columns; utt_id speaker set text speed seconds"),
        ("utt_id\tspeaker\tset\ttext\tspeed\tseconds\na-1\ta\ttrial\tone\t1\t1\n", "manifest.tsv:2: set 'trial'"),
    ],
)
def test_a_manifest_that_is_not_ours_is_one_line_of_error(tmp_path: Path, manifest: str | None, message: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.tsv").write_text(manifest)
    command = [sys.executable, str(RECIPE / "local" / "prepare.py")]
    command += ["--corpus", str(tmp_path), "--output", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()
