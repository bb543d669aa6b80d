"""The model to decode with: the mean of a run's best epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from recitative.asr.data import DevSet, load_dev_set
from recitative.asr.network import RecognizerModel
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.asr.task import RATES, dev_scores, new_recognizer_of
from recitative.config import RecognizerData, load_settings
from recitative.data.directory import DataDirectory
from recitative.errors import DataError
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.train.checkpoint import Checkpoints, Progress, average_weights, read_progress
from recitative.train.run import read_inputs, run_digest


@dataclass(frozen=True)
class Average:
    """What was tried: mean of the first n best epochs -> dev error rates by name, and the n that was chosen."""

    tried: dict[int, dict[str, float]]
    chosen: int


@writes("folder")
def average_best(folder: Path) -> Average:
    """Average the weights of the best 1, 2, ... kept epochs, choose by the dev score, write ``folder/model``."""
    recognizer, progress, paths = _trained(folder)
    dev_set = load_dev_set(DataDirectory.read(paths.dev), recognizer.settings, recognizer.spelling, paths.dev)
    files = [Checkpoints(folder).epoch_path(int(epoch)) for _, epoch in progress.best]
    if not files:
        raise DataError(str(folder), "has no finished epoch yet", "at least one", "train on")
    scores = {n: _score(recognizer, files[:n], dev_set) for n in range(1, len(files) + 1)}
    # Of equals the larger average: it is the smoother model.
    chosen = min(scores, key=lambda n: (scores[n]["score"], -n))
    recognizer.trained.load_state_dict(average_weights(files[:chosen]))
    save_model(recognizer, folder / "model")
    return Average({n: {name: s[name] for name in RATES if name in s} for n, s in scores.items()}, chosen)


@writes("folder")
def take_last(folder: Path) -> int:
    """Write the weights of the last step, averaged if there is ``train.ema``, as ``folder/model``; returns the step."""
    recognizer, progress, _ = _trained(folder)
    recognizer.trained.load_state_dict(Checkpoints(folder).weights())
    save_model(recognizer, folder / "model")
    return progress.step


def _trained(folder: Path) -> tuple[RecognizerModel, Progress, RecognizerData]:
    """A recognizer with the settings of a run, how far the run is, and what it reads."""
    paths = read_inputs(folder, RECOGNIZER)
    assert isinstance(paths, RecognizerData)
    settings = load_settings(folder / "settings.yaml")
    recognizer = new_recognizer_of(settings, paths)
    return recognizer, read_progress(folder, run_digest(settings, recognizer.tokens.to_text())), paths


def _score(recognizer: RecognizerModel, files: list[Path], dev_set: DevSet) -> dict[str, float]:
    recognizer.trained.load_state_dict(average_weights(files))
    recognizer.trained.eval()
    with torch.inference_mode():
        return dev_scores(recognizer, dev_set, torch.device("cpu"))
