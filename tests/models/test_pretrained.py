"""The models that come with the package: small, complete, and what they say they are."""

import subprocess
import sys

import numpy as np
import pytest

from recitative.audio.files import write_wav
from recitative.models import pretrained
from recitative.runtime.network import OnnxNetwork
from recitative.runtime.recognizer import Recognizer

NAMES = ["an4-bidirectional", "an4-streaming"]


def test_both_are_there_and_take_little_room():
    assert pretrained.names() == NAMES
    assert sum(pretrained.path_of(name).stat().st_size for name in NAMES) <= 12e6
    assert pretrained.path_of("an4") is None


@pytest.mark.parametrize("name", NAMES)
def test_each_carries_its_licence_and_the_command_that_made_it(name):
    card = OnnxNetwork(pretrained.path_of(name)).card
    assert "Carnegie Mellon University" in card.notes
    assert "recipes/an4/run.sh" in card.notes
    assert card.settings.model.recurrent.direction == ("forward" if name == pretrained.STREAMING else "bidirectional")


def test_the_streaming_one_hears_at_most_250_ms_ahead():
    assert Recognizer.load(pretrained.STREAMING).latency_ms <= 250


def test_it_is_the_default_and_says_so(tmp_path):
    recording = tmp_path / "a.wav"
    write_wav(recording, np.zeros(8000, np.float32), 8000)
    command = [sys.executable, "-m", "recitative", "transcribe", str(recording)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("model: an4-streaming (others with --model: an4-bidirectional, an4-streaming, or a ")
    named = subprocess.run([*command, "--model", "an4-streaming"], capture_output=True, text=True, check=True)
    assert (named.stdout, named.stderr) == (done.stdout, "")
