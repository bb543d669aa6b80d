"""The largest batch that fits, found with few measurements."""

import numpy as np
import pytest
import tiny
import torch

from recitative.asr.presets import Shape, available_bytes, measure_step, tune_buckets
from recitative.errors import RunError

BASE, PER_SECOND = 50_000_000, 1_000_000


class Machine:
    """Takes a fixed amount and so much for each second of audio, as a straight line or a curve."""

    def __init__(self, total=1_000_000_000, curve=0.0):
        self.total, self.curve, self.asked = total, curve, []

    def __call__(self, shape):
        self.asked.append(shape)
        seconds = shape.rows * shape.seconds
        peak = round(BASE + PER_SECOND * seconds + self.curve * seconds**2)
        return peak if peak <= self.total else None


def test_the_most_rows_that_fit_are_found_with_three_measurements_a_bucket():
    machine = Machine()
    seconds = np.concatenate([np.full(50, 2.0), np.full(40, 5.0), np.full(10, 10.0)])
    buckets = list(tune_buckets(seconds, 10.0, 650_000_000, machine))
    assert [bucket.longest_s for bucket in buckets] == [2.0, 5.0, 10.0]  # half of the utterances, nine tenths, all
    assert [bucket.rows for bucket in buckets] == [300, 120, 60]  # (650 MB - 50 MB) / 1 MB a second
    assert [bucket.max_batch_s for bucket in buckets] == [600.0, 600.0, 600.0]
    assert len(machine.asked) == 9
    assert {shape.labels for shape in machine.asked if shape.seconds == 5.0} == {50}


def test_what_the_line_promises_is_measured_and_taken_back_if_it_is_not_so():
    machine = Machine(curve=2000.0)
    (bucket,) = tune_buckets(np.full(3, 10.0), 10.0, 650_000_000, machine)
    peak = BASE + PER_SECOND * bucket.max_batch_s + 2000.0 * bucket.max_batch_s**2
    assert 0.7 * 650_000_000 < peak <= 650_000_000
    assert bucket.peak == peak


def test_more_than_the_machine_has_is_less_than_the_budget():
    (bucket,) = tune_buckets(np.full(3, 10.0), 10.0, 2_000_000_000, Machine(total=900_000_000))
    assert bucket.max_batch_s <= 850.0


def test_an_utterance_that_does_not_fit_alone_is_told():
    with pytest.raises(RunError, match=r"an utterance of 10 s does not fit into 0.06 GB; set train.recompute=true"):
        list(tune_buckets(np.full(3, 10.0), 10.0, 55_000_000, Machine()))


def test_a_real_step_takes_more_for_more_rows():
    settings = tiny.settings(model={"front_end": {"window": 4, "stride": 4}, "recurrent": {"layers": 2, "hidden": 64}})
    small, large = (measure_step(settings, tiny.TOKENS.symbols, "cpu", Shape(rows, 4.0, 8)) for rows in (1, 400))
    assert small is not None
    assert large is not None
    assert large > small + 4 * 400 * 400 * 64 * 4  # of each LSTM frame at least the gates: N * T * 4 H numbers
    assert available_bytes(torch.device("cpu")) > 0
