"""A day of audio through one stream, in simulated time: the same sound gives the same events at any hour, and memory
does not grow. ``make test`` hears some minutes."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
import tiny
import tones
from amounts import amount

import small_forecaster
from recitative.anomaly.detector import Threshold
from recitative.asr.stream import EndpointRules
from recitative.kinds import load
from recitative.model.export import export_model

ROUNDS = amount(6, round(24 * 3600 / 16))
MAX_GROWTH = 100_000  # bytes, from the second round, or the first tenth, to the end
ROUND_S = 16.0  # a multiple of the steps of all streams, so that each round comes at the same place


def round_of_audio() -> np.ndarray:
    """Words, a pause that ends the utterance, words, silence."""
    rng = np.random.default_rng(1)
    pause = np.zeros(4 * tiny.RATE, np.float32)
    samples = np.concatenate([part for text in ("abc acab", "cab b") for part in (tiny.speak(text, rng), pause)])
    return np.pad(samples, (0, round(ROUND_S * tiny.RATE) - len(samples)))


def recognizer(path):
    export_model(tiny.tone_recognizer(), path)
    return load(path).stream(EndpointRules(silence_s=0.8, empty_silence_s=1.6))


def classifier(path):
    export_model(tones.classifier("model.recurrent.direction=forward"), path)
    return load(path).stream()


def detector(path):
    export_model(small_forecaster.forecaster(), path)
    return load(path).stream(Threshold(1.0, 0.5, 0.01, 9))


STREAMS = {"recognizer": recognizer, "classifier": classifier, "anomaly detector": detector}


@pytest.mark.timeout(amount(300, 14400))
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_says_the_same_at_every_hour_in_the_same_memory(tmp_path, kind):
    stream = STREAMS[kind](tmp_path / "model.onnx")
    samples, size = round_of_audio(), tiny.RATE // 2
    pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
    told: set[str] = set()
    before = 0
    tracemalloc.start()
    try:
        for number in range(ROUNDS):
            events = [event for piece in pieces for event in stream.accept(piece, tiny.RATE)]
            assert events
            if number >= 2:  # the first ones begin in another state
                told.add(from_start(events, number * ROUND_S))
            if number in (max(1, ROUNDS // 10), ROUNDS - 1):
                del events
                gc.collect()
                memory = tracemalloc.get_traced_memory()[0]
                assert not before or memory - before < MAX_GROWTH
                before = memory
    finally:
        tracemalloc.stop()
    assert stream.duration_s == ROUNDS * ROUND_S
    assert len(told) == 1, "some rounds were heard otherwise"


def from_start(events, begin_s):
    """Types, words and times from the start of the round; the labels of a classifier are of all audio so far."""
    found = []
    for event in events:
        one = event.to_dict()
        words = [(word["word"], round(word["start"] - begin_s, 2)) for word in one.get("words", ())]
        times = () if one["type"] == "label" else (round(one[key] - begin_s, 2) for key in ("start", "end"))
        found.append((one["type"], words, *times))
    return str(found)
