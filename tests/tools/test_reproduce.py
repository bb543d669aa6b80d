"""tools/reproduce: documents quote what RESULTS.md has, and what README.md shows is what the commands print."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("reproduce", ROOT / "tools" / "reproduce.py")
assert SPEC
assert SPEC.loader
reproduce = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = reproduce  # its dataclass looks there
SPEC.loader.exec_module(reproduce)

TABLE = """\
# Results

<!-- results -->
| model | set | decoding | metric | value | counts | command | commit | settings | seconds | machine |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| lstm | test | beam | %WER | 7.16 | 4 / 5, a \\| b | `recipes/own/run.sh --stage 6 --stop-stage 9` | a | b | - | EPYC |
"""
QUOTE = "README.md\na WER of @ %  <-  own | lstm | test | beam | %WER\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "recipes" / "own").mkdir(parents=True)
    (tmp_path / "recipes" / "own" / "RESULTS.md").write_text(TABLE)
    (tmp_path / "README.md").write_text("It has a WER\nof 7.2 %.")
    return tmp_path


def test_documents_quote_the_figures_of_the_recipes() -> None:
    figures = list(reproduce.quotes(ROOT))
    assert {"README.md", "docs/results.md"} < {figure.what.partition(":")[0] for figure in figures}
    assert all(old == new for _, old, new in figures)


def test_a_figure_is_quoted_at_any_precision_and_across_lines(project: Path) -> None:
    assert list(reproduce.quotes(project, QUOTE)) == [("README.md: a WER of @ %", "7.2", "7.2")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("It has a WER of 7.1 %.", r"README.md has 7.1 in 'a WER of @ %', recipes/own/RESULTS.md has 7.2"),
        ("It has an error rate of 7.2 %.", r"README.md has 'a WER of @ %' 0 times"),
        ("a WER of 7.2 %, and a WER of 7.2 %", r"README.md has 'a WER of @ %' 2 times"),
    ],
)
def test_a_document_that_says_something_else_is_named(project: Path, text: str, complaint: str) -> None:
    (project / "README.md").write_text(text)
    with pytest.raises(reproduce.ReproductionError, match=complaint):
        list(reproduce.quotes(project, QUOTE))


def test_a_quoted_row_that_is_gone_is_named(project: Path) -> None:
    results = project / "recipes" / "own" / "RESULTS.md"
    results.write_text(TABLE.replace("beam", "greedy"))
    with pytest.raises(reproduce.ReproductionError, match=r"RESULTS\.md has no row"):
        list(reproduce.quotes(project, QUOTE))


def test_the_rows_of_a_table_stand_side_by_side(project: Path) -> None:
    key = ("lstm", "test", "beam", "%WER")
    recorded = reproduce.rows_of(project / "recipes" / "own" / "RESULTS.md")
    assert recorded == {key: ("7.16", "recipes/own/run.sh --stage 6 --stop-stage 9")}
    assert list(reproduce.side_by_side(recorded, {key: ("8.00", "")})) == [(" | ".join(key), "7.16", "8.00")]
    with pytest.raises(reproduce.ReproductionError, match="has none of the rows, such as other"):
        list(reproduce.side_by_side(recorded, {("other",): ("1", "")}))


def test_a_recipe_is_run_from_its_first_stage_to_its_last() -> None:
    command = "recipes/chorales/run.sh --members 1 --stage 8 --stop-stage 10 --models fill"
    assert reproduce.whole(command) == "recipes/chorales/run.sh --members 1 --models fill"


def test_names_and_corpora_that_are_not_there_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        reproduce.main(["an5"])
    assert stopped.value.code == 2
    assert reproduce.main(["an4", "--corpus", str(tmp_path), "--work", str(tmp_path)]) == 1
    assert "error: an4: needs --corpus DIR with DIR/an4\n" in capsys.readouterr().err
    with pytest.raises(reproduce.ReproductionError, match="exit status 3: exit 3"):
        reproduce.run("exit 3", tmp_path)


def test_the_readme_shows_what_its_commands_print(tmp_path: Path) -> None:
    figures = list(reproduce.readme(tmp_path))
    assert len({figure.what for figure in figures}) == 4
    for command, shown, printed in figures:
        if "transcribe" in command or shown.endswith(".mid"):
            assert shown == printed
        elif "keywords" in command:  # other processors round times and confidences differently
            assert shown.split("\t")[::3] == printed.split("\t")[::3]
