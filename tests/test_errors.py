"""Errors keep their words on the way between processes."""

import pickle

from recitative.errors import DataError, Problem


def test_a_data_error_survives_the_way_from_a_worker_process():
    problems = [Problem("a.wav", "is empty", "a recording", "record it"), Problem("b.wav", "is silent")]
    sent = pickle.loads(pickle.dumps(DataError.collect(problems)))
    assert str(sent) == "a.wav: is empty; a recording; record it (and 1 more)"
    assert sent.problems == tuple(problems)
