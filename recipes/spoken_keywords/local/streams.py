"""Make streams of words with pauses, and the times of the words, to test keyword spotting.

    python3 local/streams.py --words data/words/test --output data/test_streams --rounds 24 --seed 2

Reads a data directory of single words. In each round, the words of each speaker are joined in random order, with a
pause of 0.1 to 1 s before each word and after the last, and low noise: one utterance of about 50 s. Writes a data
directory of streams with their transcripts, and their word times in words.ctm.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.atomic import write_text
from recitative.audio.files import read_audio, write_wav
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, RecitativeError

Array = npt.NDArray[Any]

PAUSE_S = (0.1, 1.0)
NOISE_DB = (-75.0, -50.0)  # level of the noise in a stream, dBFS


@dataclass(frozen=True)
class Stream:
    """samples (S,); words with their start and end in seconds."""

    samples: Array
    rate: int
    words: tuple[tuple[str, float, float], ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=Path, required=True, help="data directory of single words")
    parser.add_argument("--output", type=Path, required=True, help="data directory of streams")
    parser.add_argument("--rounds", type=int, required=True, help="streams of each speaker")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    arguments = parser.parse_args()
    try:
        write_streams(arguments.words, arguments.output, arguments.rounds, arguments.seed)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write_streams(words: Path, output: Path, rounds: int, seed: int) -> None:
    """Write the streams. Raises DataError for recordings at different sample rates."""
    rng = np.random.default_rng(seed)
    utterances, times, seconds = [], [], 0.0
    for turn in range(rounds):
        for speaker, said in DataDirectory.read(words).by_speaker.items():
            utt_id = f"{speaker}-{turn:03d}"
            stream = join([said[number] for number in rng.permutation(len(said))], rng)
            path = output / "wav" / f"{utt_id}.wav"
            write_wav(path, stream.samples, stream.rate)
            text = " ".join(word for word, _, _ in stream.words)
            utterances.append(Utterance(utt_id, speaker, str(path.resolve()), text=text))
            times += [f"{utt_id} 1 {start:.3f} {end - start:.3f} {word}\n" for word, start, end in stream.words]
            seconds += len(stream.samples) / stream.rate
    DataDirectory(tuple(sorted(utterances))).write(output)
    write_text(output / "words.ctm", "".join(times))
    print(f"{output}: {len(utterances)} streams, {len(times)} words, {seconds / 3600:.2f} h", file=sys.stderr)


def join(said: list[Utterance], rng: np.random.Generator) -> Stream:
    """Join words with pauses and noise."""
    parts: list[Array] = []
    words: list[tuple[str, float, float]] = []
    rates: set[int] = set()
    here = 0
    for utterance in said:
        samples, rate = read_audio(utterance.recording_path)
        rates.add(rate)
        pause = round(rng.uniform(*PAUSE_S) * rate)
        begin, here = here + pause, here + pause + len(samples)
        parts += [np.zeros(pause), samples]
        words.append((utterance.text or "", begin / rate, here / rate))
    if len(rates) > 1:
        raise DataError(said[0].speaker, f"has recordings of {sorted(rates)} Hz", "one rate", "resample them")
    parts.append(np.zeros(round(rng.uniform(*PAUSE_S) * rate)))
    joined = np.concatenate(parts)
    noise = 10 ** (rng.uniform(*NOISE_DB) / 20) * rng.standard_normal(len(joined))
    return Stream(np.clip(joined + noise, -1, 1), rate, tuple(words))


if __name__ == "__main__":
    sys.exit(main())
