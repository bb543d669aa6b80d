"""tools/stages.sh on a toy recipe: the grammar of options and stages, exit statuses, and what is printed where."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

STAGES = Path(__file__).resolve().parents[2] / "tools" / "stages.sh"

TOY = """\
#!/usr/bin/env bash
# A toy: two models of nothing.
# It needs no corpus.

models="a b"    # models to make
loud=false      # say it loudly
words="x y"     # words to say
. "{stages}"

if stage 0 "fetch" makes raw; then
  echo "$words" > raw
  echo "loud is $loud"
fi
if stage 1 "train" needs raw \\
    makes exp/@/model; then
  for model in $models; do
    mkdir -p "exp/$model"
    cp raw "exp/$model/model"
  done
fi
if stage 2 "decode" needs exp/@/model makes exp/text; then # a comment
  cat exp/*/model > exp/text
  echo "$recipe_command" > exp/command
fi
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    _script(tmp_path / "bin" / "recitative", "#!/bin/sh\nexit 0\n")
    return _recipe(tmp_path, TOY)


def _recipe(folder: Path, text: str) -> Path:
    (folder / "toy").mkdir(exist_ok=True)
    return _script(folder / "toy" / "run.sh", text.replace("{stages}", str(STAGES)))


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _environment(recipe: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{recipe.parents[1] / 'bin'}:{os.environ['PATH']}"}


def _run(recipe: Path, *options: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(recipe), *options], cwd=cwd, env=_environment(recipe), capture_output=True, text=True, check=False
    )


def test_all_stages_run_in_order_in_the_recipes_folder(toy: Path, tmp_path: Path) -> None:
    done = _run(toy, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (toy.parent / "exp" / "text").read_text() == "x y\nx y\n"


def test_results_go_to_stdout_and_the_same_log_line_for_each_stage_to_stderr(toy: Path) -> None:
    done = _run(toy)
    assert done.stdout == "loud is false\n"
    talk = [line.split("] ", 1)[1] for line in done.stderr.splitlines()]
    assert talk == [
        f"stage {stage}: {event}"
        for stage in ("0 (fetch)", "1 (train)", "2 (decode)")
        for event in ("started", "done in 0 s")
    ]


def test_stage_and_stop_stage_choose_what_runs(toy: Path) -> None:
    assert _run(toy, "--stop-stage", "1").returncode == 0
    assert not (toy.parent / "exp" / "text").exists()
    (toy.parent / "raw").write_text("changed\n")
    assert _run(toy, "--stage=1", "--stop-stage=2").returncode == 0
    assert (toy.parent / "exp" / "text").read_text() == "changed\nchanged\n"


def test_a_stage_whose_input_is_missing_names_the_stage_that_makes_it(toy: Path) -> None:
    done = _run(toy, "--stage", "2")
    assert done.returncode == 1
    assert done.stderr == "error: stage 2 needs exp/a/model; run stage 1\n"


def test_an_input_that_no_stage_makes_is_said_to_be_so(tmp_path: Path, toy: Path) -> None:
    recipe = _recipe(
        tmp_path, '#!/usr/bin/env bash\n. "{stages}"\nif stage 1 "prepare" needs corpus/etc; then true; fi\n'
    )
    done = _run(recipe)
    assert done.returncode == 1
    assert "stage 1 needs corpus/etc, which no stage makes; see" in done.stderr


def test_a_variable_is_set_by_name_and_reaches_every_path_with_an_at_sign(toy: Path) -> None:
    assert _run(toy, "--models", "c", "--words", "one two").returncode == 0
    assert (toy.parent / "exp" / "c" / "model").read_text() == "one two\n"
    assert not (toy.parent / "exp" / "a").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--modles", "a"],
            "unknown option --modles; known: --stage --stop-stage --list --dry-run --help --models --loud --words",
        ),
        (["--_mode", "a"], "unknown option --_mode"),
        (["--PATH", "a"], "unknown option --PATH"),
        (["--loud", "yes"], "--loud yes: must be true or false"),
        (["--stage", "one"], "--stage one: must be a stage number; --list shows them"),
        (["--stage", "2", "--stop-stage", "1"], "--stage 2 lies after --stop-stage 1"),
        (["--stage", "7"], "no stage from 7 to 9999; --list shows the stages"),
        (["--models"], "--models needs a value"),
        (["clean"], "unexpected 'clean'; options are written --name value"),
    ],
)
def test_bad_usage_is_one_line_and_exit_status_2(toy: Path, options: list[str], message: str) -> None:
    done = _run(toy, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("error: " + message)
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in toy.parent.iterdir()) == ["run.sh"], "bad usage must run nothing"


def test_help_shows_the_recipes_description_and_every_variable_with_its_comment(toy: Path) -> None:
    done = _run(toy, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("A toy: two models of nothing.\nIt needs no corpus.\n")
    assert "--models VALUE" in done.stdout
    assert "models to make (default: a b)" in done.stdout
    assert "say it loudly (default: false)" in done.stdout


def test_a_variable_without_a_comment_is_an_error_of_the_recipe(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, '#!/usr/bin/env bash\nsecret=1\n. "{stages}"\n')
    done = _run(recipe)
    assert done.returncode == 2
    assert "variable 'secret' needs a comment" in done.stderr


def test_list_shows_every_stage_with_what_it_needs_and_makes_and_runs_nothing(toy: Path) -> None:
    done = _run(toy, "--list", "--stage", "2")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "stage  0  fetch",
        "    makes raw",
        "stage  1  train",
        "    needs raw",
        "    makes exp/a/model, exp/b/model",
        "stage  2  decode",
        "    needs exp/a/model, exp/b/model",
        "    makes exp/text",
    ]
    assert sorted(path.name for path in toy.parent.iterdir()) == ["run.sh"]


def test_a_dry_run_prints_the_commands_of_the_chosen_stages_and_runs_nothing(toy: Path) -> None:
    done = _run(toy, "--dry-run", "--stop-stage", "1")
    assert done.returncode == 0, done.stderr
    assert '    mkdir -p "exp/$model"' in done.stdout
    assert "cat exp/*/model" not in done.stdout
    assert "cat exp/*/model" in _run(toy, "--dry-run").stdout
    assert "(missing" not in done.stdout, "stage 0 of this run would have made it"
    assert sorted(path.name for path in toy.parent.iterdir()) == ["run.sh"]


def test_a_dry_run_that_lacks_an_earlier_stage_says_so_and_exits_1(toy: Path) -> None:
    done = _run(toy, "--dry-run", "--stage", "1")
    assert done.returncode == 1
    assert "needs raw (missing: run stage 0)" in done.stdout


@pytest.mark.parametrize("command", ["sh -c 'exit 7'", "sh -c 'exit 7' | cat", "for x in 1; do sh -c 'exit 7'; done"])
def test_a_failing_command_ends_the_recipe_with_its_own_status(tmp_path: Path, toy: Path, command: str) -> None:
    recipe = _recipe(tmp_path, TOY.replace("cp raw", f"{command}\n    cp raw"))
    done = _run(recipe)
    assert done.returncode == 7
    assert re.search(r"stage 1 \(train\): FAILED with exit status 7 after \d s at run\.sh:", done.stderr)
    assert "decode" not in done.stderr


def test_a_stage_that_does_not_make_what_it_promises_has_failed(tmp_path: Path, toy: Path) -> None:
    recipe = _recipe(tmp_path, TOY.replace("cat exp/*/model > exp/text", "true"))
    done = _run(recipe)
    assert done.returncode == 1
    assert "stage 2 (decode): did not make exp/text" in done.stderr


def test_the_command_that_was_given_is_kept_for_the_table_of_results(toy: Path) -> None:
    _run(toy, "--models", "a c", "--loud", "true", "--words", "it's")
    command = (toy.parent / "exp" / "command").read_text()
    assert command.endswith("toy/run.sh --models 'a c' --loud true --words 'it'\\''s'\n")


def test_a_number_is_read_from_a_flat_json_file(tmp_path: Path, toy: Path) -> None:
    (tmp_path / "toy" / "summary.json").write_text('{"utterances": 3, "seconds": 1.25e-1}\n')
    recipe = _recipe(tmp_path, TOY.replace("cp raw", 'json_number seconds summary.json; echo "$(json_number x raw)" >'))
    done = _run(recipe, "--models", "a")
    assert "1.25e-1\n" in done.stdout
    assert "raw has no number 'x'" in done.stderr


def test_a_missing_installation_is_said_before_the_first_stage(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "stages.sh").write_bytes(STAGES.read_bytes())
    recipe = _script(tmp_path / "run.sh", TOY.replace("{stages}", str(tmp_path / "tools" / "stages.sh")))
    done = subprocess.run([str(recipe)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: recitative is not installed; run 'make setup' in" in done.stderr


def test_ctrl_c_names_the_stage_to_go_on_with_and_ends_as_the_signal_would(tmp_path: Path, toy: Path) -> None:
    recipe = _recipe(tmp_path, TOY.replace("cp raw", "echo $$ > started; sleep 60\n    cp raw"))
    with subprocess.Popen(
        [str(recipe)],
        env=_environment(recipe),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a caller in the background ignores it
    ) as process:
        _wait_for(recipe.parent / "started")
        os.killpg(process.pid, signal.SIGINT)
        _, talk = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "stage 1 (train): interrupted after" in talk
    assert "continue with --stage 1" in talk
    assert "FAILED" not in talk


def _wait_for(path: Path) -> None:
    for _ in range(2000):
        if path.exists() and path.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear in 20 s")


WORKERS = """\
#!/usr/bin/env bash
num_gpus=1    # workers
num_nodes=1   # machines
. "{stages}"
if stage 5 "train"; then
  on_workers train --conf "a b.yaml"
fi
"""


@pytest.fixture
def workers(tmp_path: Path, toy: Path) -> Path:
    for name in ("recitative", "torchrun"):
        _script(tmp_path / "bin" / name, f'#!/bin/sh\nprintf "%s|" {name} "$@"\n')
    return _recipe(tmp_path, WORKERS)


def test_one_worker_is_the_command_itself(workers: Path) -> None:
    assert _run(workers).stdout == "recitative|train|--conf|a b.yaml|"


def test_several_workers_are_started_by_torchrun_and_start_again_when_one_dies(workers: Path) -> None:
    words = _run(workers, "--num-gpus", "3").stdout.split("|")
    assert words[0] == "torchrun"
    assert "--standalone" in words
    assert words[words.index("--nproc-per-node") + 1] == "3"
    assert words[words.index("--max-restarts") + 1] == "3"
    assert words[-6:] == ["-m", "recitative", "train", "--conf", "a b.yaml", ""]


def test_several_machines_meet_at_an_address_that_must_be_given(workers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    done = _run(workers, "--num-nodes", "2")
    assert done.returncode == 2
    assert "--num-nodes 2: set MASTER_ADDR to the address of one of the machines" in done.stderr
    monkeypatch.setenv("MASTER_ADDR", "host7")
    words = _run(workers, "--num-nodes", "2", "--num-gpus", "8").stdout.split("|")
    assert words[words.index("--nnodes") + 1] == "2"
    assert words[words.index("--rdzv-backend") + 1] == "c10d"
    assert words[words.index("--rdzv-endpoint") + 1] == "host7:29400"
