"""Cut single words out of sentences, by the times of a forced alignment.

    python3 local/words.py data/sentences data/aligned/words.ctm --only data/train --output data/others

CTC alignments locate words well, but not their ends: so the cut between two words is at the quietest point, and there
is none before the first and after the last word. Words of low confidence, and those too short to be complete, are
left out. Writes WAV files at RATE Hz and a data directory of them.
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

from recitative.asr.alignment import read_ctm
from recitative.audio.files import read_audio, resample, write_wav
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import RecitativeError
from recitative.text.tokens import Word

Array = npt.NDArray[Any]

HOP_S = 0.01
SHORTEST_S = 0.12
LEAST_CONFIDENCE = 0.3
# A cut is between start + WITHIN_S (or end - BEFORE_S, if later) of a word and start + BEHIND_S of the next one.
WITHIN_S, BEFORE_S, BEHIND_S = 0.06, 0.03, 0.04


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data directory of sentences, each a recording of its own")
    parser.add_argument("ctm", type=Path, help="word times written by 'recitative align'")
    parser.add_argument(
        "--only", type=Path, help="data directory; only words that are a transcript in it (default: all)"
    )
    parser.add_argument("--rate", type=int, default=8000, help="sample rate of the output in Hz (default: %(default)s)")
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
    """Cut all words, or those in ``only``, and return their number. Utterances without times are skipped."""
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
    """(S,) -> (S / hop - 3,): mean power over four hops, centered at the end of each hop."""
    squares = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    ends = np.arange(2 * hop, len(samples) - 2 * hop, hop)
    around: Array = (squares[ends + 2 * hop] - squares[ends - 2 * hop]) / (4 * hop)
    return around


def places_between(words: list[Word], around: Array) -> list[int]:
    """The cut before each word but the first, in hops; ``around`` is the output of ``powers``."""
    places = []
    for word, following in pairwise(words):
        first = int(max(word.start_s + WITHIN_S, word.end_s - BEFORE_S) / HOP_S)
        last = max(first + 1, int((following.start_s + BEHIND_S) / HOP_S))
        within = around[max(first - 2, 0) : max(last - 2, 1)]  # index 0 is the second hop
        places.append(first + int(within.argmin()) if len(within) else first)
    return places


if __name__ == "__main__":
    sys.exit(main())
