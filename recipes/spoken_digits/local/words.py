"""Single words cut out of sentences, by the times at which a recogniser found them.

    python3 local/words.py data/sentences data/aligned/words.ctm --only data/train --output data/others

An alignment says where a word is, and less well where it ends: between two words the cut is where the sound is
quietest, and before the first and behind the last there is none. Words that the recogniser doubts, and those too short
to be whole, are left out. Writes WAVs of RATE Hz and a data directory of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.asr.word_times import read_ctm
from recitative.audio.files import read_audio, write_wav
from recitative.audio.resample import resample
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import RecitativeError
from recitative.text.words import Word

Array = npt.NDArray[Any]

HOP_S = 0.01
SHORTEST_S = 0.12
LEAST_CONFIDENCE = 0.3
WITHIN_S, BEFORE_S, BEHIND_S = 0.06, 0.03, 0.04  # a cut is so far behind a word's start, its end, the next one's start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data directory of sentences, each a recording of its own")
    parser.add_argument("ctm", type=Path, help="when their words are said, of 'recitative align'")
    parser.add_argument("--only", type=Path, help="data directory: only words that are a text there (default: all)")
    parser.add_argument("--rate", type=int, default=8000, help="of what is written, in Hz (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="data directory to write, with wav/ in it")
    arguments = parser.parse_args()
    try:
        data, times = DataDirectory.read(arguments.data), read_ctm(arguments.ctm)
        only = {u.text for u in DataDirectory.read(arguments.only).utterances} if arguments.only else None
        words = cut_words(data, times, arguments.rate, arguments.output, only)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{arguments.output}: {words} words", file=sys.stderr)
    return 0


def cut_words(
    data: DataDirectory,
    times: dict[str, list[Word]],
    rate: int,
    output: Path,
    only: Container[str | None] | None = None,
) -> int:
    """How many there are; ``only`` these words, None = all. An utterance without times has none."""
    found = []
    for utterance in data.utterances:
        samples, original = read_audio(utterance.recording_path)
        words = times.get(utterance.utt_id, [])
        hop = round(HOP_S * original)
        edges = [0, *(place * hop for place in places_between(words, powers(samples, hop))), len(samples)]
        for number, (word, begin, end) in enumerate(zip(words, edges, edges[1:], strict=False)):
            wanted = only is None or word.word in only
            if not wanted or word.confidence < LEAST_CONFIDENCE or end - begin < SHORTEST_S * original:
                continue
            name = f"{utterance.utt_id}-{number}"
            path = output / "wav" / f"{name}.wav"
            write_wav(path, np.clip(resample(samples[begin:end], original, rate), -1, 1), rate)
            found.append(Utterance(name, utterance.speaker, str(path.resolve()), text=word.word))
    DataDirectory(tuple(sorted(found))).write(output)
    return len(found)


def powers(samples: Array, hop: int) -> Array:
    """(S,) -> (S / hop - 3,) mean squares around each hop's end, over four hops."""
    squares = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    ends = np.arange(2 * hop, len(samples) - 2 * hop, hop)
    around: Array = (squares[ends + 2 * hop] - squares[ends - 2 * hop]) / (4 * hop)
    return around


def places_between(words: list[Word], around: Array) -> list[int]:
    """In hops, where each word but the first begins; ``around`` are ``powers``."""
    places = []
    for word, following in pairwise(words):
        first = int(max(word.start_s + WITHIN_S, word.end_s - BEFORE_S) / HOP_S)
        last = max(first + 1, int((following.start_s + BEHIND_S) / HOP_S))
        within = around[max(first - 2, 0) : max(last - 2, 1)]  # the first of them is that at the second hop
        places.append(first + int(within.argmin()) if len(within) else first)
    return places


if __name__ == "__main__":
    sys.exit(main())
