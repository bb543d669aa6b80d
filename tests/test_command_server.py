"""Commands that fork from a server are processes as any other: status, streams, folder, environment, signals."""

import os
import signal
import subprocess

import pytest

TELL = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['NAME'], sys.stdin.read(), os.getpid())"


def test_status_and_messages_are_those_of_the_command_line(recitative):
    done = recitative("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("recitative ")
    done = recitative("info", "nowhere.onnx", "--nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: No such option: --nope")


def test_a_script_has_its_arguments_folder_environment_and_standard_input(commands, tmp_path):
    (tmp_path / "tell.py").write_text(TELL)
    done = subprocess.run(
        [commands / "python3", tmp_path / "tell.py", "a b", "ü"], input="said", capture_output=True, text=True,
        cwd=tmp_path, env=os.environ | {"NAME": "given"}, check=True,
    )  # fmt: skip
    said, pid = done.stdout.rsplit(maxsplit=1)
    assert said == f"['a b', 'ü'] {tmp_path} given said"
    assert int(pid) != os.getpid()


@pytest.mark.parametrize(
    ("code", "status", "errors"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('error: no')", 1, "error: no\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import atexit, sys; atexit.register(print, 'last', file=sys.stderr)", 0, "last\n"),
    ],
)
def test_a_process_ends_with_its_own_status(commands, tmp_path, code, status, errors):
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run([commands / "python3", tmp_path / "script.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, errors)


def test_signals_reach_the_process(commands, tmp_path):
    (tmp_path / "script.py").write_text("import time; print('ready', flush=True); time.sleep(60)")
    for number, status, told in ((signal.SIGINT, 1, "KeyboardInterrupt"), (signal.SIGTERM, -signal.SIGTERM, "")):
        with subprocess.Popen(
            [commands / "python3", tmp_path / "script.py"], stdout=-1, stderr=-1, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert told in process.communicate(timeout=60)[1]
            assert process.returncode == status
