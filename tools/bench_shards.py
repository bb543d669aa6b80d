"""Benchmark of starting training on a large corpus: opening the index of its shards, and planning an epoch.

Writes an index of utterances that do not exist, in empty shards. A new process then opens it, reads one row, and
plans two epochs: one of all shards at once, one of a tenth of the shards at a time. Memory is the peak of the
process, including Python and NumPy (40 MB).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from recitative.config import Settings, validate_tree
from recitative.data.directory import DataDirectory
from recitative.data.shards import Shard, ShardEntry, ShardIndex, write_index
from recitative.features.extraction import audio_durations_s
from recitative.train.audio import BatchSampler

SHARD = 1000  # utterances in each
TEXT = "about as many words as a sentence that is read aloud has in corpora of such a size"


def bench_shards(
    utterances: Annotated[int, typer.Option(min=1, help="Size of the index.")] = 1_000_000,
) -> None:
    """Measure opening the index of a large corpus, and planning an epoch."""
    with TemporaryDirectory() as folder:
        _write(Path(folder), utterances)
        done = subprocess.run([sys.executable, __file__, folder], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(f"shards    index of {utterances} utterances, {found['index_mb']:.0f} MB on disk")
    print(f"          opened, one row read        {found['open_s']:7.3f} s   {found['open_mb']:6.0f} MB at most")
    print(f"          epoch planned               {found['plan_s']:7.2f} s   {found['plan_mb']:6.0f} MB at most")
    print(f"          the same in ten windows     {found['windows_s']:7.2f} s")


def _write(folder: Path, utterances: int) -> None:
    shards = [Shard(f"shard-{number:06d}.tar", 0, "0" * 64) for number in range(-(-utterances // SHARD))]
    for shard in shards:
        (folder / shard.name).touch()
    write_index(folder, list(_entries(utterances)), shards, transcribed=True, fingerprint="bench")


def _entries(utterances: int) -> Iterator[ShardEntry]:
    for number in range(utterances):
        speaker = f"speaker{number // 400:07d}"
        num_samples = 16000 + (number * 7919) % 240000  # 1 to 16 s
        where = (number // SHARD, 50000 * (number % SHARD), 40000, number)
        yield ShardEntry(f"{speaker}-{number:09d}", speaker, f"{TEXT} {number}", *where, num_samples, 16000)


def measure(folder: Path) -> dict[str, float]:
    """Measure; runs in its own process."""
    started = time.perf_counter()
    utterances = DataDirectory.read(folder).utterances
    assert isinstance(utterances, ShardIndex)
    assert utterances[len(utterances) // 2].text
    opened_s, opened_mb = time.perf_counter() - started, _peak_mb()
    settings = validate_tree(Settings, {"train": {"batch_s": 2000.0}}, where="bench")
    together = max(1, len(utterances.shards) // 10)
    windows = validate_tree(Settings, {"train": {"batch_s": 2000.0, "shuffle_shards": together}}, where="bench")
    seconds = audio_durations_s(utterances, 16000)
    taken = []
    for chosen in (settings, windows):
        started = time.perf_counter()
        BatchSampler(seconds, chosen, utterances.shard_numbers).epoch(0)
        taken.append(time.perf_counter() - started)
    return {
        "index_mb": (folder / "index.safetensors").stat().st_size / 1e6,
        "open_s": opened_s,
        "open_mb": opened_mb,
        "plan_s": taken[0],
        "plan_mb": _peak_mb(),
        "windows_s": taken[1],
    }


def _peak_mb() -> float:
    """Peak memory, not from getrusage, which includes the memory of the parent at the start."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
