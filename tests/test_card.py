"""Model cards of every kind that ships, with results and a license."""

from __future__ import annotations

import pytest
import yaml

from command_line import refusal, run
from recitative import pretrained
from recitative.cli.options import Record
from recitative.kinds import KINDS, TASKS
from recitative.score.results import Measurement


def card(*arguments: object) -> tuple[dict, str]:
    """The metadata block, and the text."""
    head, text = run("info", *arguments, "--card").out.removeprefix("---\n").split("\n---\n", 1)
    return yaml.safe_load(head), text


def test_every_kind_has_a_command_for_its_card() -> None:
    assert TASKS.keys() == {kind.name for kind in KINDS}


@pytest.mark.parametrize("name", pretrained.names())
def test_the_card_of_an_included_model_says_what_it_is_and_how_to_use_it(name: str) -> None:
    head, text = card(name)
    assert (head["license"], head["library_name"]) == ("apache-2.0", "recitative")
    assert text.startswith(f"# {name}\n")
    assert f"| result | {pretrained.SCORES[name]} |" in text
    assert f'recitative.load("{name}")' in text
    for section in ("## Training data and purpose\n", "## License\nApache-2.0\n", "## Use\n", "kind: "):
        assert section in text


def test_results_and_license_stand_in_the_card(tmp_path) -> None:
    (tmp_path / "g2p.onnx.gz").write_bytes(pretrained.path_of("en-g2p").read_bytes())
    Record(tmp_path / "results.jsonl", name="lstm", set_name="test").write([Measurement("%WER", 12.5, "1 / 8")])
    more = ["--results", tmp_path / "results.jsonl", "--license", "CC-BY-4.0"]
    head, text = card(tmp_path / "g2p.onnx.gz", *more)
    assert head["license"] == "cc-by-4.0"
    assert "| lstm | test | - | %WER | 12.5 | 1 / 8 |" in text
    assert "recitative g2p pronounce g2p.onnx.gz hello world" in text
    assert str(tmp_path) not in text
    _, text = card(tmp_path / "g2p.onnx.gz")
    assert "## Results" not in text
    assert "## License\nNot stated in the file" in text


def test_what_only_a_card_has_requires_it() -> None:
    assert refusal("info", "en", "--license", "MIT") == "error: --license: requires --card"
