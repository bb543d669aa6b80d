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
from recitative.anomaly.kind import Threshold
from recitative.asr.stream import EndpointRules
from recitative.kinds import load
from recitative.model.export.file import export_model

HOURS = amount(0.05, 24.0)
MAX_GROWTH = 100_000  # bytes, from the first tenth to the end
ROUND_S = 16.0  # a multiple of the steps of all streams, so that each round comes at the same place


def sentence(rate: int) -> np.ndarray:
    """A round: words, a pause that ends the utterance, words, silence."""
    rng = np.random.default_rng(1)
    words = [tiny.speak(text, rng) for text in ("abc acab", "cab b")]
    gap = np.zeros(4 * tiny.RATE, np.float32)
    samples = np.concatenate([words[0], gap, words[1], gap])
    assert rate == tiny.RATE
    return np.pad(samples, (0, round(ROUND_S * rate) - len(samples)))


def recognizer(path):
    core = {"recurrent": {"direction": "forward", "layers": 2, "hidden": 16}}
    export_model(tiny.recognizer(seed=2, **core), path)
    # This model talks in silence: utterances end by their length, too.
    return load(path).stream(EndpointRules(silence_s=0.8, empty_silence_s=1.6, longest_s=3.2))


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
    rate = tiny.RATE
    samples = sentence(rate)
    rounds = max(10, round(HOURS * 3600 / ROUND_S))
    size = rate // 2
    pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
    told, before = [], 0
    tracemalloc.start()
    try:
        for number in range(rounds):
            events = [event for piece in pieces for event in stream.accept(piece, rate)]
            told.append(hash(_from_start(events, number * ROUND_S, number)))
            if number in (rounds // 10, rounds - 1):
                del events
                gc.collect()
                memory = tracemalloc.get_traced_memory()[0] - 100 * number  # the hashes of this test
                if before:
                    assert memory - before < MAX_GROWTH
                before = memory
    finally:
        tracemalloc.stop()
    assert stream.duration_s == pytest.approx(rounds * ROUND_S)
    assert len(set(told[2:])) == 1, "some rounds were heard otherwise"  # the first ones begin in another state


def _from_start(events, begin_s, number):
    """Times from the start of the round, without the numbers of utterances and what float32 rounds."""
    found = []
    for event in events:
        one = event.to_dict()
        words = [(word["word"], round(word["start"] - begin_s, 2)) for word in one.get("words", ())]
        found.append((one["type"], round(one["start"] - begin_s, 2), round(one["end"] - begin_s, 2), str(words)))
    return str(found)
