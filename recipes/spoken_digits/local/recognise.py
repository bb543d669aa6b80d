"""How a recogniser of connected digits, which knows none of these voices, does on single digits.

    python3 local/recognise.py ../digits/exp/lstm/model.onnx data/test --model "digits lstm" --set test \\
      --results exp/results.jsonl --results-md RESULTS.md

MODEL is a file of 'recitative export'. Two figures: of free decoding, which is right if it says the one word and
nothing else; and of the likeliest of the labels that the data has, by the best CTC path through each. Recordings are
resampled to the model's rate, with a little silence on both sides, as connected digits have, and so quiet a noise that
nobody hears it: a band and a silence in which there is nothing at all is what no microphone gives.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recitative.asr.alignment import pronounce_with
from recitative.asr.onnx import load_transcriber
from recitative.asr.transcriber import Transcriber
from recitative.audio.files import Samples
from recitative.audio.resample import resample
from recitative.cli.results import Record
from recitative.data.directory import DataDirectory, Utterance
from recitative.decoding.alignment import Alternatives, align_words
from recitative.errors import DataError, RecitativeError
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.score.results import Measurement

SILENCE_S = 0.1  # this and the noise were chosen on the dev set
NOISE = 3e-4  # standard deviation, of samples in [-1, 1]: -70 dB
TOGETHER = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recogniser", type=Path, metavar="MODEL", help="file of 'recitative export'")
    parser.add_argument("data", type=Path, help="a data directory whose texts are single words")
    parser.add_argument("--sample-rate", type=int, default=8000, help="of the recordings (default: %(default)s)")
    parser.add_argument("--model", required=True, help="its name in the results")
    parser.add_argument("--set", required=True, help="the data's name in the results")
    parser.add_argument("--command", default="-", help="the command that made them")
    parser.add_argument("--results", type=Path, help="JSON-lines file")
    parser.add_argument("--results-md", type=Path, help="Markdown file")
    arguments = parser.parse_args()
    try:
        transcriber = load_transcriber(arguments.recogniser)
        utterances = DataDirectory.read(arguments.data).utterances
        freely, chosen = recognise(transcriber, utterances, arguments.sample_rate)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for how, right in {"free decoding": freely, "likeliest of the labels": chosen}.items():
        print(f"{how}: {right / len(utterances):.2%} ({right} / {len(utterances)})")
        record = Record(arguments.results, arguments.results_md, arguments.model, arguments.set, how, arguments.command)
        record.write([Measurement.of_share("accuracy", right, len(utterances))], transcriber.settings)
    return 0


def recognise(transcriber: Transcriber, utterances: Sequence[Utterance], sample_rate: int) -> tuple[int, int]:
    """How many are right by free decoding, and by the likeliest of their labels.

    Raises DataError for a label that the model cannot write, and for recordings of another rate.
    """
    labels = sorted({utterance.text or "" for utterance in utterances})
    pronounce = pronounce_with(transcriber)
    spellings = {label: pronounce(label) for label in labels}
    freely = chosen = 0
    for start in range(0, len(utterances), TOGETHER):
        group = utterances[start : start + TOGETHER]
        rows = [_framed(utterance, sample_rate, transcriber.sample_rate) for utterance in group]
        for utterance, spoken in zip(group, transcriber.transcribe(rows), strict=True):
            freely += [word.word for word in spoken.words] == [utterance.text]
        for utterance, log_probs in zip(group, transcriber.log_probs(rows), strict=True):
            chosen += max(labels, key=lambda label: _score(log_probs, spellings[label])) == utterance.text
    return freely, chosen


def _framed(utterance: Utterance, sample_rate: int, wanted: int) -> Samples:
    """(S,) at the wanted rate, between two silences; the noise is the same for every recording."""
    audio_duration_s(utterance, sample_rate)
    silence = np.zeros(round(SILENCE_S * sample_rate), np.float32)
    samples = resample(np.concatenate([silence, read_utterance(utterance), silence]), sample_rate, wanted)
    return samples + np.random.default_rng(0).normal(0, NOISE, len(samples)).astype(np.float32)


def _score(log_probs: Samples, spellings: Alternatives) -> float:
    """The logarithm of the likeliest path's probability; a word that is too long for the recording has none."""
    try:
        return align_words(log_probs, [spellings]).log_prob
    except DataError:
        return -math.inf


if __name__ == "__main__":
    sys.exit(main())
