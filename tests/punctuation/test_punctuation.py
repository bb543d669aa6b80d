"""Punctuation and case: written text and its labels, the network as a stage, training, scores."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import recitative
from command_line import Ran, run
from contract import AsTorch, verify_contract
from every_kind import make
from recitative.errors import DataError
from recitative.model.export import build_file
from recitative.model.folder import load_model, run_model
from recitative.model.onnx_stage import OnnxStage
from recitative.punctuation import task as punctuation_task
from recitative.punctuation.punctuator import (
    CAPITAL,
    CASES,
    LABELS,
    LOWER,
    MARKS,
    PUNCTUATION,
    best_labels,
    labeled,
    read_lines,
    read_written,
    score_passages,
)
from recitative.punctuation.task import FIRST_CASE, picked_log_probs, read_passages

SETTINGS = ("text.min_count=2", "text.batch_words=200", "model.embedding=16", "model.buckets=64",
            "model.dropout=0", "model.lookahead_words=2", "model.width=16", "model.recurrent.hidden=24",
            "train.epochs=15", "train.learning_rate=0.01", "train.warmup_steps=10", "train.threads=1")  # fmt: skip


def sentences(count: int, seed: int) -> str:
    """Questions begin with 'does', lists have commas before 'then', and there is a name; a passage on each line."""
    rng = np.random.default_rng(seed)
    forms = ("Does Anna see {}?", "He saw {}, then {}.", "He saw {}.", "Anna gave him {}.", "The BBC has {}.")
    things = ("bread", "wine", "snow", "rain")
    lines = []
    for _ in range(count):
        chosen = [forms[i].format(*rng.choice(things, 2)) for i in rng.integers(0, len(forms), 3)]
        lines.append(" ".join(chosen) + "\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("punctuation")
    for name, count, seed in (("train", 300, 0), ("dev", 30, 1)):
        (folder / f"{name}.txt").write_text(sentences(count, seed), encoding="utf-8")
    return folder


def train(folder: Path, name: str, *settings: str, status: int | None = 0) -> Ran:
    return run("train", "kind=punctuation", "--train", folder / "train.txt", "--dev", folder / "dev.txt", "--output",
               folder / name, "--quiet", *SETTINGS, *settings, status=status)  # fmt: skip


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    done = train(folder, "run")
    assert "F1 comma" in done.out
    return folder / "run" / "model"


@pytest.mark.parametrize(("text", "expected"), [
    ("Come here, said he.", [("come", "", "capital"), ("here", ",", "lower"), ("said", "", "lower"),
                             ("he", ".", "lower")]),
    ("'Twenty-one' - I don't know!\"", [("twenty", "", "capital"), ("one", "", "lower"), ("i", "", "capital"),
                                        ("don't", "", "lower"), ("know", "!", "lower")]),
    ("The BBC ? U.S.", [("the", "", "capital"), ("bbc", "?", "upper"), ("us", ".", "upper")]),
    ("a (b); c:", [("a", "", "lower"), ("b", "", "lower"), ("c", "", "lower")]),
    ("...", []),
])  # fmt: skip
def test_written_text_is_words_with_marks_and_cases(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [word[:3] for word in read_written(text)] == expected


def test_a_word_behind_the_end_of_a_sentence_begins_one() -> None:
    words = labeled(["so", "i", "did", "go"], [("", "lower"), ("?", "capital"), ("", "lower"), ("!", "upper")])
    assert [word.text for word in words] == ["So", "I?", "Did", "GO!"]
    words = labeled(["so", "i"], [("", "lower"), ("", "lower")], begins=False)
    assert [word.text for word in words] == ["so", "i"]


def test_the_network_keeps_the_contract_in_pytorch_and_as_a_file() -> None:
    model = make("punctuation")
    entries = len(model.vocabulary) + model.settings.model.buckets

    def words(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.randint(0, entries, (*shape, 4), generator=generator)

    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(3.0)  # so that every word within the look-ahead can be noticed
    assert model.network.lookahead == 2
    verify_contract(model.network.requires_grad_(False), words, gradients=False)
    stage = OnnxStage(build_file(model).SerializeToString(), PUNCTUATION)
    assert stage.lookahead == 2
    verify_contract(AsTorch(stage), words, gradients=False)


def test_a_target_is_a_mark_with_one_case_or_with_that_of_a_first_word() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(2, 3, len(LABELS)).log_softmax(-1)
    targets = torch.tensor([[0, 4 + FIRST_CASE, 2], [9, 4 * 4 + FIRST_CASE, 17]])
    picked = picked_log_probs(log_probs, targets)
    for row, column in np.ndindex(2, 3):
        mark, case = divmod(int(targets[row, column]), 4)
        cases = (LOWER, CAPITAL) if case == FIRST_CASE else (CASES[case],)
        fitting = [LABELS.index((MARKS[mark], one)) for one in cases]
        expected = log_probs[row, column, fitting].exp().sum().log()
        assert float(picked[row, column]) == pytest.approx(float(expected), abs=1e-5)


def test_the_mark_and_the_case_are_chosen_each_by_itself() -> None:
    """The most probable pair may be of another mark than the most probable mark."""
    probs = np.full(len(LABELS), 1e-6, np.float32)
    probs[LABELS.index(("", "lower"))] = 0.4
    probs[LABELS.index((",", "lower"))] = 0.25
    probs[LABELS.index((",", "capital"))] = 0.35
    assert best_labels(np.log(probs)[None]) == [(",", "lower")]


def test_log_odds_tell_what_a_text_has_more_often_than_by_chance(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("He saw Anna, then Anna, then snow.\n" * 30, encoding="utf-8")
    text = read_passages(tmp_path / "a.txt")
    odds = text.log_odds(np.arange(len(text.words))[:, None])
    by_word = dict(zip(text.words, odds, strict=True))
    comma, capital = MARKS.index(","), 2 * len(MARKS) + CASES.index("capital")
    assert by_word["anna"][comma] > 0.5 > 0 > by_word["then"][comma]
    assert by_word["anna"][capital] > 0.5 > 0 > by_word["snow"][capital]
    assert by_word["then"][len(MARKS) + comma] > 0.5  # a comma stands before it


def test_a_trained_model_restores_what_it_learned(trained: Path, folder: Path) -> None:
    punctuator = recitative.load(trained)
    said = "does anna see wine he saw snow then rain the bbc has bread anna gave him wine"
    restored = " ".join(word.text for word in punctuator.restore(said.split()))
    assert restored == "Does Anna see wine? He saw snow, then rain. The BBC has bread. Anna gave him wine."
    scores = score_passages(punctuator, [read_written(restored)])
    assert {score.f1 for score in scores.values()} == {1.0}


def test_score_and_export_are_those_of_every_kind(trained: Path, folder: Path) -> None:
    run("export", trained, "--weights", "int8", "--output", folder / "m.onnx")
    of_folder = run("score", trained, folder / "dev.txt")
    of_file = run("score", folder / "m.onnx", folder / "dev.txt", "--results", folder / "r.jsonl", "--model", "m",
                  "--set", "dev")  # fmt: skip
    assert of_file.out == of_folder.out
    assert of_file.out.startswith("comma     precision ")
    rows = [json.loads(line) for line in (folder / "r.jsonl").open()]
    assert {row["metric"] for row in rows} == {"% F1 comma", "% F1 period", "% F1 question", "% F1 capital"}
    assert min(row["value"] for row in rows) > 90
    assert "2 words of look-ahead" in run("info", folder / "m.onnx").out


def test_no_word_depends_on_more_than_the_look_ahead(trained: Path) -> None:
    punctuator = recitative.load(trained)
    said = ["does", "anna", "see", "wine", "he", "saw", "snow", "then", "rain", "the", "bbc", "has", "bread"]
    whole = punctuator.restore(said)
    for end in range(len(said)):
        decided = max(0, end - punctuator.lookahead)
        assert punctuator.restore(said[:end])[:decided] == whole[:decided]


class Stopping(punctuation_task.PunctuationTask):
    """Is asked to stop in its eighth step."""

    seen = 0

    def loss(self, batch: punctuation_task.PassageBatch) -> tuple[torch.Tensor, int]:
        Stopping.seen += 1
        if Stopping.seen == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(batch)


def test_an_interrupted_run_ends_in_the_same_weights(
    trained: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(punctuation_task, "PunctuationTask", Stopping)
        train(folder, "again", status=1)
    train(folder, "again")
    assert Stopping.seen == 8
    weights = [load_model(path, PUNCTUATION).network.state_dict() for path in (trained, folder / "again" / "model")]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_text_without_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"empty.txt: has no words; written text, a passage on each line; give another"):
        read_lines(tmp_path / "empty.txt")


def test_a_model_in_memory_restores_like_its_folder(trained: Path) -> None:
    words = ["he", "saw", "rain", "then", "snow"]
    assert run_model(load_model(trained, PUNCTUATION)).restore(words) == recitative.load(trained).restore(words)
