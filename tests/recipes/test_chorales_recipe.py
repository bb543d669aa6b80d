"""The chorales recipe from its first stage to its last, on a made-up corpus with models of a few weights."""

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
RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "chorales"
TINY = (
    "train.epochs=1 train.device=cpu train.threads=1 pieces.rows=2 pieces.bptt=16 model.width=4 model.choice_width=4 "
    "model.recurrent.hidden=4 model.recurrent.layers=1"
)
KINDS = ("chorales/samples/new", "chorales/samples/continued", "fill/samples/harmonized", "fill/samples/rewritten")


def _chorale(rng: np.random.Generator, steps: int) -> list[list[int]]:
    """Four voices that move at random every quarter note."""
    middle = np.array([70, 63, 58, 50])
    return [row for _ in range(steps // 4) for row in [(middle + rng.integers(-4, 5, 4)).tolist()] * 4]


def _corpus(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    sets = {
        name: [_chorale(rng, 96) for _ in range(count)] for name, count in (("train", 4), ("valid", 2), ("test", 2))
    }
    quarters = {name: [[sorted(set(row)) for row in rows[::4]] for rows in some] for name, some in sets.items()}
    folder.mkdir()
    (folder / "Jsb16thSeparated.json").write_text(json.dumps(sets))
    (folder / "jsb-chorales-quarter.json").write_text(json.dumps(quarters))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_recipe: Run) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("chorales")
    _corpus(folder / "corpus")
    small = [
        "--members",
        "2",
        "--samples",
        "2",
        "--bars",
        "2",
        "--sweeps",
        "2",
        "--report-args",
        "--no-sound",
        "--train-args",
        TINY,
    ]
    return folder, run_recipe("chorales", folder, "--corpus", folder / "corpus", "--models", "chorales fill", *small)


def test_every_stage_is_done(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    _, done = run
    recipe_local.assert_done(done, "prepare", "check", "train", "sample", "score", "export", "report", "speed")


def test_every_number_is_in_the_table_with_what_made_it(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    rows = [json.loads(line) for line in (folder / "exp" / "results.jsonl").read_text().splitlines()]
    found = {(row["model"], row["decoding"], row["metric"]): row for row in rows}
    for metric in ("nats per frame", "nats per token"):
        values = [found["chorales", f"teacher forcing{of}", metric]["value"] for of in ("", ", model.onnx")]
        assert values[0] == pytest.approx(values[1], abs=1e-3)
        assert ("chorales", "teacher forcing, model_int8.onnx", metric) in found
        assert ("chorales", "teacher forcing, mean of 2 models", metric) in found
    assert ("fill", "teacher forcing", "nats per frame") not in found
    for model, kind in (("chorales", "continued"), ("fill", "harmonized"), ("fill", "rewritten")):
        assert found[model, kind, "% given notes kept"]["value"] == 100
        assert found[model, kind, "% new notes in range"]["value"] == 100
    assert all(found[model, "new, model_int8.onnx, one thread", "real-time factor"] for model in ("chorales", "fill"))
    assert ("chorales", "new compared with the training set", "longest copy, quarters") in found
    assert all(row["settings"] != "-" for row in rows if "compared" not in row["decoding"])
    assert all(row["command"].startswith("recipes/chorales/run.sh --data") for row in rows)
    assert "| chorales | test | teacher forcing | nats per frame |" in (folder / "RESULTS.md").read_text()


def test_samples_hold_what_was_given_to_the_sixteenth(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    for kind, given, voices in ((KINDS[1], "openings", 4), (KINDS[2], "melodies", 1)):
        for name in ("000", "001"):
            expected = _notes(folder / "data" / given / f"{name}.mid")
            assert expected <= _notes(folder / "exp" / kind / f"{name}.mid")
            assert {note.voice for note in expected} == set(range(voices))


def test_each_kind_of_piece_has_its_page(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    for kind in KINDS:
        page = (folder / "exp" / kind / "report.html").read_text()
        assert "Longest copies" in page
        assert len(list((folder / "exp" / kind).glob("*.mid"))) == 2


def test_a_later_stage_runs_alone_on_what_is_there(
    run: tuple[Path, subprocess.CompletedProcess[str]], run_recipe: Run
) -> None:
    folder, _ = run
    recipe_local.assert_rows_are_replaced(
        folder, run_recipe, "chorales", "--corpus", folder / "corpus", "--models", "fill"
    )


def _notes(path: Path) -> set[Note]:
    pieces, errors = read_file(path, 48)
    assert errors == []
    return set(pieces[0].notes)
