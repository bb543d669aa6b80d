"""Preparing chorales and folk tunes, on made-up corpora of a handful of pieces."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from recitative.music.midi import read_midi
from recitative.music.piece import to_grid

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FIRST = [[72, 67, 64, 48]] * 4 + [[71, 67, -1, 43]] * 4
SECOND = [[70, 65, 62, -1], [70, 65, 62, 46], [70, 65, 62, 46], [69, 65, 60, 46]]
SCALE, TURN = "CDEF GABc", "cBcd edcG"


def _script(recipe: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{recipe}_prepare", RECIPES / recipe / "local" / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, corpus: Path, output: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["prepare", "--corpus", str(corpus), "--output", str(output)])
    return int(script.main())


def _chorales(folder: Path, sixteenths: Any = None, quarters: Any = None) -> Path:
    folder.mkdir()
    sets = {"train": [FIRST, SECOND], "valid": [SECOND], "test": [FIRST]}
    frames = {name: [[[p for p in row if p >= 0] for row in rows[::4]] for rows in c] for name, c in sets.items()}
    (folder / "Jsb16thSeparated.json").write_text(json.dumps(sixteenths or sets))
    (folder / "jsb-chorales-quarter.json").write_text(json.dumps(quarters or frames))
    return folder


def test_every_chorale_is_a_file_with_the_grid_of_the_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(_script("chorales"), monkeypatch, _chorales(tmp_path / "jsb"), tmp_path / "data") == 0
    files = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.mid"))
    sets = ["test/000.mid", "train/000.mid", "train/001.mid", "valid/000.mid"]
    assert files == ["melodies/000.mid", "openings/000.mid", *(f"quarter/{name}" for name in sets), *sets]
    piece = read_midi(tmp_path / "data" / "train" / "001.mid")
    np.testing.assert_array_equal(to_grid(piece, 4).pitches, SECOND)
    assert sum(note.voice == 0 for note in piece.notes) == 2, "equal pitches in a row are one note"
    talk = capsys.readouterr().err
    assert "2 pieces, 12 sixteenths, read back and compared" in talk
    assert "2 pieces, 3 quarters, read back and compared" in talk
    assert "every fourth row of 2 of 2 chorales" in talk


def test_the_pitches_of_each_quarter_are_voices_from_the_highest_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossed = [[60, 64, 64], [], [48, 72, 60, 55]]  # in any order, one twice, and none
    quarters = {"train": [crossed], "valid": [crossed], "test": [crossed]}
    corpus = _chorales(tmp_path / "jsb", quarters=quarters)
    assert _run(_script("chorales"), monkeypatch, corpus, tmp_path / "data") == 0
    piece = read_midi(tmp_path / "data" / "quarter" / "test" / "000.mid", 1)
    assert to_grid(piece, 4).pitches.tolist() == [[64, 60, -1, -1], [-1] * 4, [72, 60, 55, 48]]


def test_openings_are_four_bars_and_melodies_the_highest_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = {name: [FIRST * 10] for name in ("train", "valid", "test")}
    corpus = _chorales(tmp_path / "jsb", sixteenths=long)
    assert _run(_script("chorales"), monkeypatch, corpus, tmp_path / "data") == 0
    opening, melody = (to_grid(read_midi(tmp_path / "data" / kind / "000.mid"), 4) for kind in ("openings", "melodies"))
    np.testing.assert_array_equal(opening.pitches, (FIRST * 10)[:64])
    assert melody.pitches.tolist() == [[row[0], -1, -1, -1] for row in FIRST * 10]


@pytest.mark.parametrize("row", [[60, 62, 64, 65, 67], [128], [-2], "C"])
def test_quarters_that_are_no_four_pitches_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], row: Any
) -> None:
    quarters = {"train": [[[60]]], "valid": [[[60], row]], "test": [[[60]]]}
    corpus = _chorales(tmp_path / "jsb", quarters=quarters)
    assert _run(_script("chorales"), monkeypatch, corpus, tmp_path / "data") == 1
    talk = capsys.readouterr().err
    assert "valid 0: does not consist of pitches; at most 4 pitches at a time, 0 to 127" in talk
    assert talk.count("\n") == 1


def test_quarters_in_another_order_and_key_are_told_apart(tmp_path: Path) -> None:
    script = _script("chorales")
    grids = [np.array(rows, np.int16) for rows in (FIRST, SECOND)]
    moved = [[[p + 3 for p in row if p >= 0] for row in rows[::4]] for rows in (SECOND, FIRST)]
    said = script.compared(grids, [script.frames_of(rows) for rows in moved])
    assert said.endswith("equals every fourth row of 0 of 2 chorales; in any order and key of 2")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"train": []}, "has other keys; lists train, valid, test"),
        ({"train": [[[60, 60, 60]]], "valid": [], "test": []}, r"train 0: is not a grid of voices; rows of 4 pitches"),
        ({"train": [[[60] * 4, [60] * 3]], "valid": [], "test": []}, "train 0: is not a grid"),
        ({"train": [[[300] * 4]], "valid": [], "test": []}, "train 0: is not a grid"),
        ({"train": [[]], "valid": [], "test": []}, "train 0: is not a grid"),
    ],
)
def test_a_broken_corpus_of_chorales_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: Any, message: str
) -> None:
    assert _run(_script("chorales"), monkeypatch, _chorales(tmp_path / "jsb", broken), tmp_path / "data") == 1
    talk = capsys.readouterr().err
    assert message in talk
    assert talk.count("\n") == 1


def test_a_missing_corpus_names_the_option_that_gives_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(_script("chorales"), monkeypatch, tmp_path / "none", tmp_path / "data") == 1
    assert "pass its folder as --corpus" in capsys.readouterr().err
    assert _run(_script("folk"), monkeypatch, tmp_path / "none", tmp_path / "data") == 1
    assert "none: is not a folder" in capsys.readouterr().err


def _tunes(folder: Path, *tunes: tuple[str, str, str]) -> Path:
    folder.mkdir()
    lines = [f"X:{n}\nT:{title}\nL:1/8\nK:{key}\n{body}\n\n" for n, (title, key, body) in enumerate(tunes, start=1)]
    (folder / "tunes.abc").write_text("".join(lines))
    return folder


def _names(output: Path) -> dict[str, set[str]]:
    return {name: {read_midi(p).name for p in (output / name).glob("*.mid")} for name in ("train", "valid", "test")}


def _melody(number: int) -> str:
    random = np.random.default_rng(number)
    return "".join(random.choice(list("CDEFGABcdefg"), 40))


def test_folk_tunes_are_divided_once_and_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [(f"tune {number}", "C", _melody(number)) for number in range(40)]
    script = _script("folk")
    assert _run(script, monkeypatch, _tunes(tmp_path / "all", *many), tmp_path / "data") == 0
    assert _run(script, monkeypatch, _tunes(tmp_path / "less", *many[:20]), tmp_path / "fewer") == 0
    whole, fewer = _names(tmp_path / "data"), _names(tmp_path / "fewer")
    assert sorted(title for titles in whole.values() for title in titles) == sorted(title for title, *_ in many)
    assert all(fewer[name] == whole[name] & {title for title, *_ in many[:20]} for name in whole)
    assert len(whole["train"]) > 20


def test_a_melody_in_another_key_and_variant_stays_in_one_set(tmp_path: Path) -> None:
    corpus = _tunes(
        tmp_path / "all", ("a", "C", _melody(1)), ("b", "C", _melody(2)), ("c", "C", _melody(1)[:30] + "CCCG")
    )
    script = _script("folk")
    pieces = script.read_corpus(corpus)
    higher = tuple(replace(note, pitch=note.pitch + 5) for note in pieces[1].notes)
    pieces.append(replace(pieces[1], notes=higher))
    assert script.same_melodies(pieces) == [[0, 2], [1, 3]]


def test_bad_tunes_are_named_and_too_many_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = _tunes(tmp_path / "all", ("good", "C", SCALE), ("bad", "C", "&"), ("fine", "C", TURN))
    assert _run(_script("folk"), monkeypatch, corpus, tmp_path / "data") == 1
    talk = capsys.readouterr().err
    assert "left out: " in talk
    assert "1 of 3 tunes are not understood; at most one in twenty" in talk
