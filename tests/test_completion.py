"""Completion of verbs, options, choices, models and kinds in bash, zsh and fish: what their scripts ask and get."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from recitative import pretrained
from recitative.kinds import KINDS

NAMED_SHELL = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # otherwise it is that of a parent process


def completed(recitative, shell: str, line: str) -> list[str]:
    """The completions of the last word of a line."""
    words = line.split(" ")
    asked = {
        "_RECITATIVE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    found = recitative(env=asked).stdout
    if shell == "zsh":  # _arguments '*: :(("name":"help" ...))'
        return [part.split('"')[1].replace("\\", "") for part in found.splitlines() if part.count('"') > 1]
    return [one.split("\t")[0] for one in found.splitlines() if one]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("recitative tr", ["transcribe", "train"]),
        ("recitative data ex", ["export"]),
        ("recitative transcribe --form", ["--format"]),
        ("recitative transcribe --format j", ["json", "jsonl"]),
        ("recitative transcribe --model ", pretrained.names("recognizer")),
        ("recitative generate music --model ", ["chorales", "chorales-fill"]),
        ("recitative info en", [name for name in pretrained.names() if name.startswith("en")]),
        ("recitative train k", [f"kind={kind.name}" for kind in KINDS]),
        ("recitative transcribe talk", []),  # the shell completes files
    ],
)
def test_a_line_is_completed(recitative, shell: str, line: str, expected: list[str]) -> None:
    assert completed(recitative, shell, line) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(recitative, shell: str, tmp_path: Path) -> None:
    made = recitative("--show-completion", shell, env=NAMED_SHELL)
    assert made.returncode == 0, made.stderr
    assert "_RECITATIVE_COMPLETE" in made.stdout


def test_the_script_for_bash_completes_verbs(recitative, commands: Path) -> None:
    script = recitative("--show-completion", "bash", env=NAMED_SHELL).stdout
    asked = 'COMP_WORDS=(recitative tr); COMP_CWORD=1; _recitative_completion recitative; echo "${COMPREPLY[@]}"'
    made = subprocess.run(
        ["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, env={"PATH": f"{commands}:/usr/bin:/bin"}
    )
    assert made.stdout.split() == ["transcribe", "train"], made.stderr
