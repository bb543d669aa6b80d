"""Frame recordings of single words as a recognizer of sentences expects them: with a pause before and after the word.

    python3 local/framed.py data/test data/framed/test

Digital silence does not occur in training, so inaudible noise is added. Writes OUTPUT/*.flac at their own sample rate,
and OUTPUT/words.csv with path, text and speaker, which 'recitative data import' takes.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import soundfile

from recitative.atomic import replacing
from recitative.data.directory import DataDirectory
from recitative.errors import RecitativeError
from recitative.features.extraction import read_utterance


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data directory whose texts are single words")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--pause-s", type=float, default=0.3, help="before and after (default: %(default)s)")
    parser.add_argument("--noise", type=float, default=1e-4, help="standard deviation (default: %(default)s, -80 dB)")
    arguments = parser.parse_args()
    try:
        frame(DataDirectory.read(arguments.data), arguments.output, arguments.pause_s, arguments.noise)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def frame(data: DataDirectory, output: Path, pause_s: float, noise: float) -> None:
    """The noise is the same for every recording."""
    output.mkdir(parents=True, exist_ok=True)
    rows = [("path", "text", "speaker")]
    for utterance in data.utterances:
        path, rate = Path(utterance.recording_path), soundfile.info(utterance.recording_path).samplerate
        pause = np.zeros(round(pause_s * rate))
        samples = np.concatenate([pause, read_utterance(utterance), pause])
        samples += np.random.default_rng(0).normal(0, noise, len(samples))
        soundfile.write(output / f"{path.stem}.flac", samples, rate)
        rows.append((f"{path.stem}.flac", utterance.text or "", utterance.speaker))
    with replacing(output / "words.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
