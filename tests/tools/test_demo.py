"""The last step of make demo, with models and a recognizer that are only files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from recitative.score.wer import ErrorCounts, confidence_interval, score, summary

ROOT = Path(__file__).resolve().parents[2]
REFS = {f"voice-{number}": "one two three four" for number in range(100)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "demo.sh", tmp_path / "tools")
    recipe = tmp_path / "recipes" / "digits"
    (recipe / "corpus").mkdir(parents=True)
    (recipe / "corpus" / "manifest.tsv").write_text(
        "af_alloy-01\taf_alloy\ttrain\tone\nbf_lily-02\tbf_lily\ttest\ttwo\n"
    )
    program = tmp_path / ".venv" / "bin" / "recitative"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf '%s\\ttwo\\n' \"$2\"\n")
    program.chmod(0o755)
    return tmp_path


def _demo(project: Path, errors: int, recorded: str) -> list[str]:
    """The lines that it prints after a run with one wrong word in each of so many recordings."""
    hyps = {utt_id: text.replace("two", "ten") if n < errors else text for n, (utt_id, text) in enumerate(REFS.items())}
    scores = score(REFS, hyps)
    recipe = project / "recipes" / "digits"
    scored = recipe / "exp" / "lstm" / "decode_test" / "score"
    scored.mkdir(parents=True)
    (recipe / "exp" / "lstm" / "model.onnx").touch()
    (scored / "wer").write_text(summary(scores, scores) + "\n")
    row = "| {} | test | beam, 2-gram | %WER | {} | 5 / 419 | `run.sh` |\n"
    (recipe / "RESULTS.md").write_text(row.format("blstm", "77.00") + row.format("lstm", recorded))
    done = subprocess.run([str(project / "tools" / "demo.sh")], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_it_prints_what_was_said_and_what_was_heard(project: Path) -> None:
    reference, hypothesis, _ = _demo(project, 4, "1.19")
    assert reference == "reference:  two"
    assert hypothesis.startswith("hypothesis: two   (recitative transcribe recipes/digits/corpus/audio/bf_lily-02.ogg ")


@pytest.mark.parametrize(
    ("recorded", "judged"),
    [
        ("1.19", "has 1.19 %, within the interval"),
        ("4.00", "has 4.00 %, outside the interval"),
        ("1.00", "has the same rate"),
    ],
)
def test_it_says_whether_the_error_rate_differs_from_the_recorded_one_by_more_than_noise(
    project: Path, recorded: str, judged: str
) -> None:
    low, high = confidence_interval([ErrorCounts(4, substitutions=int(number < 4)) for number in range(100)])
    line = _demo(project, 4, recorded)[-1]
    assert line.startswith(
        f"lstm: WER 1.00 % of 400 words, 95 % confidence interval {100 * low:.2f} to {100 * high:.2f} %; "
        f"RESULTS.md {judged}"
    )


def test_the_interval_in_the_readme_is_that_of_the_recorded_errors() -> None:
    recipe = ROOT / "recipes" / "digits"
    utterances = [row.split("\t") for row in (recipe / "corpus" / "manifest.tsv").read_text().splitlines()[1:]]
    words = [len(text.split()) for _, _, corpus_set, text, *_ in utterances if corpus_set == "test"]
    results = (recipe / "RESULTS.md").read_text()
    for model in ("blstm", "lstm"):  # 5 errors, each in another recording
        assert f"| {model} | test | beam, 2-gram | %WER | 1.19 | 5 / {sum(words)}, " in results
        assert f"| {model} | test | beam, 2-gram | %SER | 4.63 | 5 / {len(words)} |" in results
    low, high = confidence_interval([ErrorCounts(n, substitutions=int(row < 5)) for row, n in enumerate(words)])
    readme = (ROOT / "README.md").read_text()
    assert f"95 % confidence interval of {100 * low:.1f} to {100 * high:.1f} %" in readme
