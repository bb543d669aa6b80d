"""The benchmark runs and prints its line; how fast it is depends on the machine and is no test."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_benchmark_of_features_prints_speed_and_ratio():
    bench = Path(__file__).resolve().parents[2] / "tools" / "bench.py"
    result = subprocess.run(
        [sys.executable, bench, "features", "--runs", "1"], capture_output=True, text=True, check=True, timeout=120
    )
    names = ["fbank 80", "room response", "noise", "speed", "telephone band"]
    for name, line in zip(names, result.stdout.splitlines(), strict=True):
        assert re.fullmatch(rf"features +{name}, .* \d+ x real time +\d+\.\d\d of torchaudio \(\d+\)", line)
