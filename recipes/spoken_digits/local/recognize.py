"""Measure the accuracy of a recognizer of connected digits on single digits by unknown voices.

    python3 local/recognize.py ../digits/exp/lstm/model.onnx data/test --model "digits lstm" --set test \\
      --results exp/results.jsonl --results-md RESULTS.md

MODEL is a file written by 'recitative export'. Prints two figures: free decoding, which is correct if the text is
exactly the word; and the most probable of the labels in the data, by the best CTC path of each. Recordings are
resampled to the model's rate and padded with silence, as in connected digits. Inaudible noise is added, because
digital silence and empty frequency bands do not occur in training.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recitative.asr.alignment import pronounce_with
from recitative.asr.stream import Transcriber, load_transcriber
from recitative.audio.files import Samples, resample
from recitative.cli.options import Record
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
    parser.add_argument("recognizer", type=Path, metavar="MODEL", help="a file written by 'recitative export'")
    parser.add_argument("data", type=Path, help="a data directory whose texts are single words")
    parser.add_argument(
        "--sample-rate", type=int, default=8000, help="sample rate of the recordings (default: %(default)s)"
    )
    parser.add_argument("--model", required=True, help="name of the model in the results")
    parser.add_argument("--set", required=True, help="name of the data in the results")
    parser.add_argument("--command", default="-", help="command to record in the results")
    parser.add_argument("--results", type=Path, help="JSON Lines file of results")
    parser.add_argument("--results-md", type=Path, help="Markdown table of results")
    arguments = parser.parse_args()
    try:
        transcriber = load_transcriber(arguments.recognizer)
        utterances = DataDirectory.read(arguments.data).utterances
        freely, chosen = recognize(transcriber, utterances, arguments.sample_rate)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for how, right in {"free decoding": freely, "restricted to the labels": chosen}.items():
        print(f"{how}: {right / len(utterances):.2%} ({right} / {len(utterances)})")
        record = Record(arguments.results, arguments.results_md, arguments.model, arguments.set, how, arguments.command)
        record.write([Measurement.of_share("accuracy", right, len(utterances))], transcriber.settings)
    return 0


def recognize(transcriber: Transcriber, utterances: Sequence[Utterance], sample_rate: int) -> tuple[int, int]:
    """Count the correct utterances in free decoding, and when restricted to the labels in the data.

    Raises DataError for a label that the model cannot spell, and for recordings at another sample rate.
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
    """Samples (S,) at the wanted rate, padded with silence; the noise is the same for every recording."""
    audio_duration_s(utterance, sample_rate)
    silence = np.zeros(round(SILENCE_S * sample_rate), np.float32)
    samples = resample(np.concatenate([silence, read_utterance(utterance), silence]), sample_rate, wanted)
    return samples + np.random.default_rng(0).normal(0, NOISE, len(samples)).astype(np.float32)


def _score(log_probs: Samples, spellings: Alternatives) -> float:
    """Log probability of the best path; -inf for a word that is too long for the recording."""
    try:
        return align_words(log_probs, [spellings]).log_prob
    except DataError:
        return -math.inf


if __name__ == "__main__":
    sys.exit(main())
