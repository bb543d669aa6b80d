#!/usr/bin/env python3
"""Measure how well label scores find wrong transcripts.

    tools/label_scores.py an4-bidirectional data/test

One word of each transcript is replaced by another word of the data, left out, or put in. Prints for each kind of fault
in what share of all pairs of a wrong and a right transcript the wrong one has the lower score.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pipeline"))

from recitative.asr.report import inspect
from recitative.asr.stream import load_transcriber
from recitative.audio.files import read_audio
from recitative.data.directory import DataDirectory
from recitative.pretrained import find
from recitative.score.classification import area_under_curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name of an included recognizer, model folder or exported file")
    parser.add_argument("data", type=Path, help="a data directory with transcripts")
    arguments = parser.parse_args()
    transcriber = load_transcriber(find(arguments.model))
    said = [utterance for utterance in DataDirectory.read(arguments.data).utterances if utterance.text]
    heard = [((u.text or "").split(), read_audio(u.recording_path, start_s=u.start_s, end_s=u.end_s)[0]) for u in said]
    known = sorted({word for words, _ in heard for word in words})
    right = [inspect(transcriber, samples, " ".join(words)).label_score for words, samples in heard]
    for fault in ("replaced", "left out", "added"):
        drawn = random.Random(0)
        wrong = [
            inspect(transcriber, samples, " ".join(with_fault(words, fault, known, drawn))).label_score
            for words, samples in heard
        ]
        # area_under_curve wants the odd ones above
        share = area_under_curve([-score for score in right], [-score for score in wrong])
        print(f"one word {fault}: {share:.1%} of all pairs of {len(wrong)} wrong and {len(right)} right transcripts")


def with_fault(words: list[str], fault: str, known: list[str], drawn: random.Random) -> list[str]:
    at = drawn.randrange(len(words))
    other = drawn.choice([word for word in known if word != words[at]])
    return words[:at] + {"replaced": [other], "left out": [], "added": [other, words[at]]}[fault] + words[at + 1 :]


if __name__ == "__main__":
    main()
