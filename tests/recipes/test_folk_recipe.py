"""The folk recipe from its first stage to its last, on made-up tunes with a model of a few weights."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import recipe_local
from recitative.music.composer import read_file
from recitative.music.piece import Note

Run = Callable[..., subprocess.CompletedProcess[str]]
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "folk"
TINY = (
    "train.epochs=1 train.device=cpu train.threads=1 pieces.streams=4 pieces.bptt=32 model.embedding=4 "
    "model.recurrent.hidden=4"
)


def _tune(rng: np.random.Generator, number: int) -> str:
    bars = ('"G"' + "".join(rng.choice(list("GABcdefg"), 8)) for _ in range(int(rng.integers(5, 9))))
    return f"X:{number}\nT:tune {number}\nM:4/4\nL:1/8\nK:G\n{'|'.join(bars)}|]\n\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_recipe: Run) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("folk")
    (folder / "corpus").mkdir()
    rng = np.random.default_rng(1)
    tunes = "".join(_tune(rng, number) for number in range(1, 31))
    (folder / "corpus" / "tunes.abc").write_text(tunes)
    small = ["--samples", "3", "--continued", "2", "--bars", "2", "--report-args", "--no-sound", "--train-args", TINY]
    return folder, run_recipe("folk", folder, "--corpus", folder / "corpus", *small)


def test_every_stage_is_done(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = run
    recipe_local.assert_done(done, "prepare", "check", "train", "sample", "score", "export", "report")
    assert "30 tunes, 30 melodies" in done.stderr
    assert "notes, 0 of them cut to 96 steps" in done.stdout


def test_every_number_is_in_the_table_with_what_made_it(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    rows = [json.loads(line) for line in (folder / "exp" / "results.jsonl").read_text().splitlines()]
    found = {(row["model"], row["set"], row["decoding"], row["metric"]): row for row in rows}
    for metric in ("nats per token", "nats per note"):
        forced = [found["folk", "test", f"teacher forcing{of}", metric] for of in ("", ", model.onnx")]
        assert forced[0]["value"] == pytest.approx(forced[1]["value"], abs=1e-3)
        assert forced[0]["settings"] != "-"
        assert ("folk", "test", "teacher forcing, model_int8.onnx", metric) in found
    for model, name, kind in (
        ("-", "test", "unseen tunes"),
        ("folk", "samples", "new"),
        ("folk", "samples", "continued"),
    ):
        for metric in ("distance of pitch classes", "distance of note lengths", "longest copy, quarters"):
            assert found[model, name, f"{kind} compared with the training set", metric]["value"] >= 0
    assert all(row["command"].startswith("recipes/folk/run.sh --data") for row in rows)
    assert "| folk | test | teacher forcing | nats per note |" in (folder / "RESULTS.md").read_text()


def test_continuations_hold_the_openings_note_for_note(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    continued = sorted((folder / "exp" / "folk" / "samples" / "continued").glob("*.mid"))
    assert len(continued) == 2
    for path in continued:
        given = _notes(folder / "data" / "openings" / path.name)
        assert given <= _notes(path)
        assert {note.voice for note in given} == {0, 1}
        assert max(note.end for note in given) <= 16 * 12


def test_there_is_a_page_and_as_many_new_pieces_as_asked_for(
    run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = run
    assert "Longest copies" in (folder / "exp" / "folk" / "report.html").read_text()
    assert len(list((folder / "exp" / "folk" / "samples" / "new").glob("*.mid"))) == 3


def test_a_later_stage_runs_alone_on_what_is_there(
    run: tuple[Path, subprocess.CompletedProcess[str]], run_recipe: Run
) -> None:
    folder, _ = run
    recipe_local.assert_rows_are_replaced(folder, run_recipe, "folk", "--corpus", folder / "corpus")


def _notes(path: Path) -> set[Note]:
    pieces, errors = read_file(path, 12)
    assert errors == []
    return set(pieces[0].notes)
