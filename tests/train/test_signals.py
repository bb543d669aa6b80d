"""Signals that come while native code computes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("torch")

# A process of its own: pytest has the other stack already, and what goes wrong is an abort.
LSTM_UNDER_SIGNALS = """
import faulthandler, signal, torch
from recitative.train.loop import stop_signals

assert not faulthandler.is_enabled()
torch.manual_seed(1)
lstm = torch.nn.LSTM(192, 192, batch_first=True)
x = torch.randn(8, 150, 192)

def gradient():
    lstm.zero_grad()
    lstm(x)[0].square().sum().backward()
    return lstm.weight_hh_l0.grad.clone()

with stop_signals():
    expected, caught = gradient(), []
    signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    while len(caught) < 20:  # one at most is told of between two lines of Python, however many there were
        assert torch.equal(gradient(), expected)
    signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer signals")
def test_lstm_computes_the_same_under_a_hail_of_signals():
    environment = os.environ | {"PYTHONFAULTHANDLER": ""}
    done = subprocess.run(
        [sys.executable, "-c", LSTM_UNDER_SIGNALS], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
