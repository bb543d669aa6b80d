"""recipes/spoken_digits/local/recognize.py with a network of known probabilities."""

import numpy as np
import pytest

import recipe_local
from recitative.asr.stream import Transcriber
from recitative.audio.files import write_wav
from recitative.config import Settings
from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.stage import Padded
from recitative.text.tokens import TokenTable

TOKENS = TokenTable(("<blank>", "one", "two", "three"))


class Loudness:
    """A network that recognizes quiet input as 'one' and loud input as 'two', in one frame in the middle."""

    stride, lookahead = 1, None

    def output_lengths(self, lengths):
        return lengths

    def initial_state(self, n):
        return {}

    def step(self, x, state, *, last):
        log_probs = np.full((*x.data.shape[:2], 4), np.log(0.02), np.float32)
        log_probs[..., 0] = np.log(0.94)
        for row, length in enumerate(x.lengths):
            loud = x.data[row, :length].mean() > 15.0
            log_probs[row, length // 2] = np.log([0.1, 0.2, 0.6, 0.1] if loud else [0.1, 0.6, 0.2, 0.1])
        return Padded(log_probs, x.lengths), {}


@pytest.fixture
def recognize(monkeypatch):
    return recipe_local.load("spoken_digits", "recognize", monkeypatch=monkeypatch)[0]


def utterances(folder, *texts):
    """'one' is quiet noise and everything else loud, at 8 kHz."""
    rng, made = np.random.default_rng(0), []
    for number, text in enumerate(texts):
        path = folder / f"{number}.wav"
        write_wav(path, rng.normal(0, 0.001 if text == "one" else 0.15, 4000).astype(np.float32), 8000)
        made.append(Utterance(str(number), "nobody", str(path), text=text))
    return made


def test_both_ways_of_decoding_count_correct_utterances(recognize, tmp_path):
    transcriber = Transcriber(Loudness(), Settings(), TOKENS)
    assert recognize.recognize(transcriber, utterances(tmp_path, "one", "two", "one"), 8000) == (3, 3)
    assert recognize.recognize(transcriber, utterances(tmp_path, "one", "two", "three"), 8000) == (2, 2)


def test_restricted_decoding_chooses_among_the_labels_of_the_data(recognize, tmp_path):
    transcriber = Transcriber(Loudness(), Settings(), TOKENS)
    assert recognize.recognize(transcriber, utterances(tmp_path, "three", "three"), 8000) == (0, 2)


def test_recordings_of_another_rate_are_refused(recognize, tmp_path):
    with pytest.raises(DataError, match="8000 Hz; 16000 Hz"):
        recognize.recognize(Transcriber(Loudness(), Settings(), TOKENS), utterances(tmp_path, "one"), 16000)


def test_a_word_that_is_too_long_for_the_recording_has_no_chance(recognize):
    log_probs = np.log(np.full((1, 4), 0.25))
    assert recognize._score(log_probs, ((1, 2),)) == -np.inf
    assert recognize._score(log_probs, ((1,),)) == pytest.approx(np.log(0.25))
