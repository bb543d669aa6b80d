"""Real audio for the training benchmarks: some minutes of a data directory, with its texts as letters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recitative.audio.files import Samples
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError
from recitative.features.utterances import measure, read_utterance
from recitative.text.tokens import TokenTable

DIGITS = Path(__file__).resolve().parent.parent / "recipes" / "digits"
SEED = 1


@dataclass(frozen=True)
class Material:
    """The same utterances for everybody.

    seconds: of each utterance, by the header
    decoded: their samples, or None where each is read from its file whenever it is needed
    """

    utterances: tuple[Utterance, ...]
    seconds: tuple[float, ...]
    sample_rate: int
    tokens: TokenTable
    decoded: tuple[Samples, ...] | None

    def samples(self, number: int) -> Samples:
        """(S,) float32 in [-1, 1]."""
        return self.decoded[number] if self.decoded else read_utterance(self.utterances[number])

    def labels(self, number: int) -> list[int]:
        """In 1..V-1; 0 is the blank."""
        return self.tokens.encode(self.utterances[number].text or "")

    @property
    def audio_s(self) -> float:
        return sum(self.seconds)

    def rows(self, batch_s: float) -> int:
        """How many utterances make a batch of about ``batch_s`` seconds, where batches have a fixed number of them."""
        return max(1, round(batch_s * len(self.seconds) / self.audio_s))


def draw(data: Path, minutes: float, sample_rate: int, *, cache: bool) -> Material:
    """Utterances drawn at random (always the same ones) until there are ``minutes`` of them, or all there are.

    data: a Kaldi data directory or a folder of shards. Raises DataError for another sample rate or missing text.
    """
    pool = DataDirectory.read(data).utterances
    chosen: list[Utterance] = []
    seconds: list[float] = []
    for number in np.random.default_rng(SEED).permutation(len(pool)):
        if sum(seconds) >= 60 * minutes:
            break
        chosen.append(_with_text(pool[int(number)], data))
        seconds.append(measure(chosen[-1], sample_rate))
    decoded = tuple(read_utterance(utterance) for utterance in chosen) if cache else None
    tokens = TokenTable.from_texts(utterance.text or "" for utterance in chosen)
    return Material(tuple(chosen), tuple(seconds), sample_rate, tokens, decoded)


def _with_text(utterance: Utterance, data: Path) -> Utterance:
    if not utterance.text:
        raise DataError(f"{data}: utterance '{utterance.utt_id}'", "has no text", "a transcript", "add it")
    return utterance


@contextmanager
def data_or_digits(data: Path | None) -> Iterator[Path]:
    """``data``, or the training set of the digits recipe, made for as long as it is needed."""
    if data:
        yield data
        return
    with TemporaryDirectory() as folder:
        prepare = [sys.executable, str(DIGITS / "local" / "prepare.py")]
        library = {"PYTHONPATH": str(DIGITS.parents[1] / "pipeline")}
        command = [*prepare, "--corpus", str(DIGITS / "corpus"), "--output", folder]
        subprocess.run(command, check=True, capture_output=True, env=library)
        yield Path(folder) / "train"
