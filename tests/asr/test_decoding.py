"""Decoding a data directory: the same bytes whatever does the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

from command_line import refusal, run
from recitative.asr.recognizer import BATCH
from recitative.model.folder import save_model

FORWARD = {"recurrent": {"direction": "forward", "layers": 1, "hidden": 16}, "lookahead_frames": 2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that talks, and recordings for three batches."""
    folder = tmp_path_factory.mktemp("decoding")
    save_model(tiny.recognizer(seed=2, **FORWARD), folder / "model")
    return folder / "model", tiny.write_corpus(folder, 2 * BATCH + 3, seed=1)


def outputs(folder: Path) -> dict[str, bytes]:
    """All that was written; of the summary all but how long it took."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    summary = json.loads(files.pop("summary.json"))
    assert summary.pop("seconds") > 0
    return files | {"summary.json": json.dumps(summary).encode()}


def test_two_processes_write_what_one_writes(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    for jobs in (1, 2):
        options = ("--jobs", jobs, "--nbest", 3, "--chunk-ms", 50)
        printed = run("decode", *inputs, "--output", tmp_path / str(jobs), *options).out
        assert f"{2 * BATCH + 3} utterances" in printed
    alone, together = outputs(tmp_path / "1"), outputs(tmp_path / "2")
    assert alone == together
    assert {"text", "words.jsonl", "tokens.jsonl", "nbest.jsonl", "data_dir", "model", "summary.json"} == set(alone)
    assert len(alone["text"].splitlines()) == 2 * BATCH + 3


def test_an_address_is_for_a_cluster(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    told = refusal("decode", *inputs, "--output", tmp_path, "--address", "10.0.0.1:6379")
    assert told.startswith("error: --address 10.0.0.1:6379: requires --engine ray")
