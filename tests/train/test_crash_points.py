"""Killed at any operation on its files and started again, a run ends as if nothing had been. All points: run the
script itself, which takes some minutes."""

import subprocess
import sys
from pathlib import Path


def test_a_run_that_is_killed_while_it_writes_ends_in_the_same_files():
    script = Path(__file__).with_name("crash_points.py")
    done = subprocess.run(
        [sys.executable, str(script), "--every", "17"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
