"""Make training examples of a keyword classifier: words, and filler from within and between them.

    python3 local/examples.py --words data/words/train --output data/train
    python3 local/examples.py --streams data/dev_streams --output data/dev

From single words: each word with its label; the filler, ``_filler_``, is the audible beginning of each word, at most
half of it, and silence. So a word in a stream is detected only at its end.

From streams with words.ctm: up to BEFORE_S s of audio that end with each word, and as filler the same length of audio
that ends in the middle of the word or, if the pause is long enough, AFTER_S s after it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from recitative.asr.alignment import read_word_times
from recitative.audio.files import read_audio, write_wav
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import RecitativeError

FILLER = "_filler_"
BEGINNING = (0.15, 0.5)  # share of a word that is filler,
LEAST_S, LEAST_DB = 0.1, -55.0  # if it is at least this long, and its peak above this level (dBFS)
QUIET_S, QUIET_DB, QUIET_OF = (0.35, 1.2), (-68.0, -45.0), 3  # duration, level (dBFS), words per example of silence
BEFORE_S, BEHIND_S, AFTER_S = 2.0, 0.05, 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--words", type=Path, help="data directory of single words")
    source.add_argument("--streams", type=Path, help="data directory of streams, with words.ctm")
    parser.add_argument("--output", type=Path, required=True, help="data directory to write")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        if arguments.words:
            found = from_words(arguments.words, arguments.output / "wav", np.random.default_rng(arguments.seed))
        else:
            found = from_streams(arguments.streams)
        DataDirectory(tuple(sorted(found))).write(arguments.output)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    fillers = sum(utterance.text == FILLER for utterance in found)
    print(f"{arguments.output}: {len(found) - fillers} words, {fillers} fillers", file=sys.stderr)
    return 0


def from_words(words: Path, folder: Path, rng: np.random.Generator) -> list[Utterance]:
    """Examples from single words. Silence is written to ``folder``."""
    found = []
    for number, word in enumerate(DataDirectory.read(words).utterances):
        samples, rate = read_audio(word.recording_path)
        whole = Utterance(
            word.utt_id, word.speaker, word.recording_path, 0.0, len(samples) / rate, word.text, word.utt_id
        )
        found.append(whole)
        beginning = samples[: round(rng.uniform(*BEGINNING) * len(samples))]
        cut_s = len(beginning) / rate
        if cut_s >= LEAST_S and np.abs(beginning).max() >= 10 ** (LEAST_DB / 20):
            found.append(replace(whole, utt_id=f"{word.utt_id}-beginning", end_s=cut_s, text=FILLER))
        if number % QUIET_OF == 0:
            noise = rng.standard_normal(round(rng.uniform(*QUIET_S) * rate))
            path = folder / f"quiet-{number:05d}.wav"
            write_wav(path, 10 ** (rng.uniform(*QUIET_DB) / 20) * noise, rate)
            end_s = len(noise) / rate
            found.append(Utterance(path.stem, "quiet", str(path.resolve()), 0.0, end_s, FILLER, path.stem))
    return found


def from_streams(streams: Path) -> list[Utterance]:
    """Examples from the first round of streams; other rounds have the same words."""
    data = {u.utt_id: u for u in DataDirectory.read(streams).utterances if u.utt_id.endswith("-000")}
    spans = read_word_times(streams, data.values())
    times = [
        (utt_id, *span, word)
        for utt_id, stream in data.items()
        for span, word in zip(spans[utt_id], (stream.text or "").split(), strict=True)
    ]
    found = []
    for number, (utt_id, start_s, end_s, word) in enumerate(times):
        stream = data[utt_id]
        ends = {"word": end_s + BEHIND_S, "within": (start_s + end_s) / 2}
        if number + 1 < len(times) and times[number + 1][0] == utt_id and times[number + 1][1] > end_s + AFTER_S:
            ends["after"] = end_s + AFTER_S
        for what, until_s in ends.items():
            label = word if what == "word" else FILLER
            span = (round(max(0.0, until_s - BEFORE_S), 4), round(until_s, 4))
            name = f"{utt_id}-{number:04d}-{what}"
            found.append(Utterance(name, stream.speaker, stream.recording_path, *span, label, utt_id))
    return found


if __name__ == "__main__":
    sys.exit(main())
