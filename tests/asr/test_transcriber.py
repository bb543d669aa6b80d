"""Streaming equals offline over the whole chain: samples to features to network to tokens and times."""

import numpy as np
import pytest
import tiny
import torch

from contract import AsTorch, verify_contract
from recitative.asr.decoding import DecodingResult
from recitative.asr.network import new_transcriber
from recitative.errors import UsageError

STREAMING = {
    "forward": {"recurrent": {"direction": "forward", "layers": 2, "hidden": 8}, "lookahead_frames": 3},
    "latency_controlled": {
        "recurrent": {"direction": "latency_controlled", "layers": 2, "hidden": 8, "chunk": 3, "right_context": 2}
    },
    "conv": {
        "front_end": {"kind": "conv", "channels": [2, 2], "width": 6},
        "recurrent": {"direction": "forward", "cell": "gru", "layers": 1, "hidden": 8},
    },
}


def noise(shape, generator):
    return torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("kind", list(STREAMING))
def test_samples_to_log_probabilities_keep_the_contract(kind):
    chain = new_transcriber(tiny.recognizer(**STREAMING[kind]))
    # The output layer's weights are eight times too large here, and so is the noise of float32.
    verify_contract(AsTorch(chain), noise, longest=300, rows=3, cuttings=3, atol=3e-5, gradients=False, slack=3)


@pytest.mark.parametrize("kind", list(STREAMING))
@pytest.mark.parametrize("chunk", [13, 64, 640, 100_000])
def test_any_chunk_gives_the_same_tokens_at_the_same_times(kind, chunk):
    transcriber = new_transcriber(tiny.recognizer(**STREAMING[kind]))
    rng = np.random.default_rng(5)
    recordings = [
        tiny.speak(text, rng)[: 3000 + 100 * i] for i, text in enumerate(("abc cabca", "cabbac bb", "bca bcacc"))
    ]
    whole = tiny.said(transcriber.transcribe(recordings))
    assert sum(len(tokens) for tokens in whole) > 5  # otherwise the test could not fail
    assert tiny.said(transcriber.transcribe(recordings, chunk_samples=chunk)) == whole
    assert tiny.said(transcriber.transcribe([recording])[0] for recording in recordings) == whole


def test_a_bidirectional_model_refuses_to_stream():
    transcriber = new_transcriber(tiny.recognizer())
    with pytest.raises(UsageError, match="needs the whole input"):
        transcriber.transcribe([np.zeros(1000, np.float32)], chunk_samples=100)


def test_latency_is_the_sum_of_what_each_part_waits_for():
    recognizer = tiny.recognizer(**STREAMING["forward"])
    window, hop, stack, ahead = 20, 10, 4, 3
    samples = (window - 1) + hop * ((stack - 1) + stack * ahead)
    assert new_transcriber(recognizer).latency_ms == pytest.approx(1000 * samples / tiny.RATE)
    assert new_transcriber(tiny.recognizer()).latency_ms is None


def test_a_recording_shorter_than_a_frame_has_no_text():
    transcriber = new_transcriber(tiny.recognizer())
    assert transcriber.transcribe([np.zeros(3, np.float32)]) == [DecodingResult((), ())]
    assert DecodingResult((), ()).text == ""
