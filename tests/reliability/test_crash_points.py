"""Killed at any operation on its files, or out of room there, and started again, a command ends as if nothing had
been. All points: ``make soak``, or the script itself, which takes some minutes."""

import subprocess
import sys
from pathlib import Path

import pytest
from amounts import amount


@pytest.mark.timeout(amount(600, 7200))
def test_a_command_that_is_killed_or_has_no_room_ends_in_the_same_files_when_it_is_run_again():
    script = Path(__file__).with_name("crash_points.py")
    done = subprocess.run(
        [sys.executable, str(script), "--every", str(amount(53, 1))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
