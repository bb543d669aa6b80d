"""A run that is stopped in mid-epoch and started again is the run without the interruption."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from recitative.errors import RunError
from recitative.train.run import train_model


def assert_resumes(kind, settings, data, folder, task, stop_at=3):
    """Train twice, once with a SIGTERM in the loss of batch ``stop_at`` of all epochs; the other run is returned.

    task: the class of the run's task
    """
    original, seen = task.loss, []

    def loss(self, batch):
        seen.append(batch)
        if len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch)

    whole = train_model(kind, settings, data, folder / "whole", quiet=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "loss", loss)
        with pytest.raises(RunError, match=f"stopped at step {stop_at}; run the same command again"):
            train_model(kind, settings, data, folder / "stopped", quiet=True)
        resumed = train_model(kind, settings, data, folder / "stopped", quiet=True)
    assert len(seen) == whole.progress.step
    assert resumed.scores == whole.scores
    losses, weights = [], []
    for run in (folder / "whole", folder / "stopped"):
        log = map(json.loads, (run / "train.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in log if line["event"] == "step"])
        weights.append(torch.load(run / "checkpoint" / "latest.pt", weights_only=True)["network"])
    assert losses[0] == losses[1]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
    return whole
