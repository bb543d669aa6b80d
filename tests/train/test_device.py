"""Where a training computes that is one worker's, and with how many threads."""

import pytest
import torch

from recitative.config import TrainSettings
from recitative.errors import UsageError
from recitative.train import distributed


@pytest.mark.parametrize(("threads", "loaders", "expected"), [(0, 0, 6), (0, 2, 4), (0, 9, 1), (3, 2, 3)])
def test_it_has_the_threads_it_asks_for_or_the_cores_that_its_loaders_leave(monkeypatch, threads, loaders, expected):
    given = []
    monkeypatch.setattr(distributed, "available_cores", lambda: 6)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    settings = TrainSettings(device="cpu", threads=threads)
    assert distributed.lone_device(settings, "sound train: it is one worker's", loaders=loaders) == torch.device("cpu")
    assert given == [expected]


def test_several_workers_are_refused_in_the_words_of_the_verb(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"^sound train: it is one worker's; run it without torchrun$"):
        distributed.lone_device(TrainSettings(device="cpu"), "sound train: it is one worker's")
