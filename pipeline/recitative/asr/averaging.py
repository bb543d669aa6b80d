"""The model to decode with: the mean of a run's best epochs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from recitative.asr.data import DevSet, load_dev_set
from recitative.asr.network import Recogniser
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.asr.task import dev_scores, new_recogniser_of
from recitative.config import RecognizerData, load_settings
from recitative.data.directory import DataDirectory
from recitative.errors import DataError
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.train.checkpoint import Checkpoints, average_weights, read_progress
from recitative.train.run import read_inputs, run_digest


@dataclass(frozen=True)
class Average:
    """What was tried: mean of the first n best epochs -> dev WER and CER, and the n that was chosen."""

    tried: dict[int, tuple[float, float]]
    chosen: int


@writes("folder")
def average_best(folder: Path) -> Average:
    """Average the weights of the best 1, 2, ... kept epochs, choose by dev WER, write ``folder/model``."""
    paths = read_inputs(folder, RECOGNIZER)
    assert isinstance(paths, RecognizerData)
    settings = load_settings(folder / "settings.yaml")
    recogniser = new_recogniser_of(settings, paths)
    progress = read_progress(folder, run_digest(settings, recogniser.tokens.to_text()))
    dev_set = load_dev_set(DataDirectory.read(paths.dev), settings, recogniser.spelling, paths.dev)
    files = [Checkpoints(folder).epoch_path(int(epoch)) for _, epoch in progress.best]
    if not files:
        raise DataError(str(folder), "has no finished epoch yet", "at least one", "train on")
    scores = {n: _score(recogniser, files[:n], dev_set) for n in range(1, len(files) + 1)}
    # Of equals the larger average: it is the smoother model.
    chosen = min(scores, key=lambda n: (scores[n]["score"], -n))
    recogniser.trained.load_state_dict(average_weights(files[:chosen]))
    save_model(recogniser, folder / "model")
    return Average({n: (s["dev_wer"], s["dev_cer"]) for n, s in scores.items()}, chosen)


def _score(recogniser: Recogniser, files: list[Path], dev_set: DevSet) -> dict[str, float]:
    recogniser.trained.load_state_dict(average_weights(files))
    recogniser.trained.eval()
    with torch.inference_mode():
        return dev_scores(recogniser, dev_set, torch.device("cpu"))
