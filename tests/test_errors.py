"""Errors keep their words on the way between processes."""

import pickle

import pytest

from recitative.errors import DataError, Problem, counted


def test_a_data_error_survives_the_way_from_a_worker_process():
    problems = [Problem("a.wav", "is empty", "a recording", "record it"), Problem("b.wav", "is silent")]
    sent = pickle.loads(pickle.dumps(DataError.collect(problems)))
    assert str(sent) == "a.wav: is empty; a recording; record it (and 1 more)"
    assert sent.problems == tuple(problems)


@pytest.mark.parametrize(("count", "expected"), [(0, "0 words"), (1, "1 word"), ("1", "1 word"), ("1.5", "1.5 words")])
def test_a_count_of_one_takes_the_singular(count, expected):
    assert counted(count, "word") == expected
    assert counted(2, "entry", "entries") == "2 entries"
