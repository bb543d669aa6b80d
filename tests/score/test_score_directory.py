"""recitative score, from a data directory and a text to numbers, files and results."""

import dataclasses

import pytest
import typer
from typer.testing import CliRunner

from recitative.cli.score import score as score_command
from recitative.data.tables import write_table
from recitative.errors import DataError, UsageError
from recitative.score.results import ResultRow, read_results
from recitative.score.wer import score_directory

TEXT = {"a-1": "one two three", "a-2": "four", "b-1": "five six"}


@pytest.fixture
def data(tmp_path):
    write_table(tmp_path / "data/text", TEXT)
    write_table(tmp_path / "data/utt2spk", {utt_id: utt_id[0] for utt_id in TEXT})
    write_table(tmp_path / "hyp", {"a-1": "one too three", "b-1": "five six"})
    return tmp_path


def run(*arguments, ok=True):
    app = typer.Typer()
    app.command()(score_command)
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if ok and outcome.exception:
        raise outcome.exception
    return outcome


def test_the_three_lines_go_to_stdout_and_the_talk_to_stderr(data):
    outcome = run(data / "data", data / "hyp", "--output", data / "score")
    assert outcome.stdout.splitlines() == [
        "%WER 33.33 [ 2 / 6, 0 ins, 1 del, 1 sub ]",
        "%CER 20.00 [ 5 / 25, 0 ins, 4 del, 1 sub ]",
        "%SER 66.67 [ 2 / 3 ]",
    ]
    assert "Scored 3 sentences, 1 not present in hyp." in outcome.stderr
    assert "warning: no hypothesis, counted as all deleted: a-2" in outcome.stderr
    names = {path.name for path in (data / "score").iterdir()}
    assert names == {"wer", "per_utt", "per_spk", "ops_words", "ops_chars", "missing"}


def test_the_results_hold_one_row_a_metric_and_scoring_again_replaces_them(data):
    (data / "settings.yaml").write_text("train: {epochs: 1}\n")
    command = [data / "data", data / "hyp", "--output", data / "score", "--model", "m", "--set", "test"]
    command += ["--settings", data / "settings.yaml", "--seconds", "1.5", "--command", "recitative decode"]
    command += ["--results", data / "exp/results.jsonl", "--results-md", data / "RESULTS.md"]
    run(*command)
    run(*command)
    rows = read_results(data / "exp/results.jsonl")
    assert [(row.metric, row.value) for row in rows] == [("%WER", 33.3333), ("%CER", 20.0), ("%SER", 66.6667)]
    assert rows[0].counts == "2 / 6, 0 ins, 1 del, 1 sub"
    assert rows[0].seconds == 1.5
    assert len(rows[0].settings) == 8
    table = [line for line in (data / "RESULTS.md").read_text().splitlines() if line.startswith("| m |")]
    assert len(table) == 3


def test_the_time_of_training_is_a_row_of_its_own(data):
    command = [data / "data", data / "hyp", "--output", data / "score", "--model", "m", "--set", "test"]
    run(*command, "--train-seconds", "90", "--results", data / "results.jsonl")
    row = read_results(data / "results.jsonl")[-1]
    assert (row.set, row.metric, row.value, row.seconds) == ("train", "minutes", 1.5, 90.0)


def test_an_unknown_utterance_is_named_with_the_file_of_the_hypotheses(data):
    write_table(data / "hyp", {"c-9": "x"})
    with pytest.raises(DataError, match=r"hyp: utterance 'c-9' is not in the references"):
        score_directory(data / "data", data / "hyp", data / "score")
    assert not (data / "score").exists()


def test_results_without_a_name_are_bad_usage(data):
    common = (data / "data", data / "hyp", "--output", data / "score")
    for more in (("--results", data / "r"), ("--results-md", data / "R.md"), ("--settings", data / "none.yaml")):
        outcome = run(*common, *more, ok=False)
        assert isinstance(outcome.exception, UsageError)
    assert not (data / "score").exists()


def test_rows_keep_what_their_origin_says(data):
    scores = score_directory(data / "data", data / "hyp", data / "score")
    origin = ResultRow("m", "s", "greedy", "", 0.0, seconds=3.0)
    assert scores.rows(origin)[2] == dataclasses.replace(origin, metric="%SER", value=66.6667, counts="2 / 3")


def test_tokens_are_counted_where_the_hypotheses_are_tokens(tmp_path):
    """'bat k' is B AA T K, of which the T is missing; 'k' is K."""
    write_table(tmp_path / "data" / "text", {"a-1": "bat k", "a-2": "k"})
    write_table(tmp_path / "data" / "utt2spk", {"a-1": "a", "a-2": "a"})
    write_table(tmp_path / "hyp", {"a-1": "B AA K", "a-2": "K"})
    (tmp_path / "tokens").write_text("<blank> 0\nAA 1\nB 2\nK 3\nT 4\n")
    (tmp_path / "lexicon").write_text("bat B AA T\nk K\n")
    common = (tmp_path / "data", tmp_path / "hyp", "--output", tmp_path / "score")
    spelled = ("--tokens", tmp_path / "tokens", "--lexicon", tmp_path / "lexicon")
    named = ("--model", "m", "--set", "test", "--results", tmp_path / "results.jsonl")
    outcome = run(*common, *spelled, *named)
    assert outcome.stdout.startswith("%PER 20.00 [ 1 / 5, 0 ins, 1 del, 0 sub ]")
    rows = read_results(tmp_path / "results.jsonl")
    assert [(row.metric, row.value) for row in rows] == [("%PER", 20.0)]
    assert isinstance(run(*common, "--lexicon", tmp_path / "lexicon", ok=False).exception, UsageError)
