"""Train a recogniser from data directories, and make the model to decode with from the best epochs."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from recitative import __version__
from recitative.config import Settings, dump_settings, load_settings
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.features.cmvn import CmvnStats
from recitative.machine import available_cores, describe_machine
from recitative.models.folder import Recogniser, new_recogniser, save_recogniser
from recitative.models.language import Language
from recitative.nn.normalise import Normalise
from recitative.recognition.batches import TrainingSet
from recitative.recognition.dev_set import DevSet, load_dev_set
from recitative.recognition.distillation import load_teacher
from recitative.recognition.network import new_transcriber
from recitative.recognition.task import RecognitionTask, dev_scores
from recitative.score.results import describe_commit
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable
from recitative.train.checkpoint import Checkpoints, Progress, average_weights, read_progress
from recitative.train.console import Console
from recitative.train.loop import choose_device, fit


@dataclass(frozen=True)
class TrainingPaths:
    """What a run reads; remembered in the experiment folder as ``inputs.json``."""

    train: Path
    dev: Path
    tokens: Path
    cmvn: Path
    lexicon: Path | None = None  # where tokens are phones
    teacher: Path | None = None  # a model folder to learn from as well


def train_recogniser(settings: Settings, paths: TrainingPaths, folder: Path, *, quiet: bool = False) -> Progress:
    """Train into ``folder``, or go on where a run with the same settings stopped.

    Raises UsageError if the folder holds a run with other settings, and what the training set and the loop raise.
    """
    device = choose_device(settings.train)
    torch.set_num_threads(settings.train.threads or max(1, available_cores() - settings.train.workers))
    _claim(folder, settings, paths)
    torch.manual_seed(settings.train.seed)
    recogniser = _new_recogniser(settings, paths)
    cmvn = CmvnStats.read(paths.cmvn)
    _set_normalisation(recogniser, cmvn, paths.cmvn)
    data = DataDirectory.read(paths.train)
    stride = recogniser.network.stride
    teacher = load_teacher(paths.teacher, recogniser, device) if paths.teacher else None
    teach = teacher is not None
    training_set = TrainingSet(data, settings, recogniser.spelling, stride, cmvn, paths.train, teach=teach)
    dev_set = load_dev_set(DataDirectory.read(paths.dev), settings, recogniser.spelling, paths.dev)
    _describe(folder, recogniser, device)
    task = RecognitionTask(recogniser, training_set, dev_set, device, teacher)
    return fit(task, settings.train, folder, device=device, console=Console(quiet=quiet))


@dataclass(frozen=True)
class Average:
    """What was tried: mean of the first n best epochs -> dev WER and CER, and the n that was chosen."""

    tried: dict[int, tuple[float, float]]
    chosen: int


def average_best(folder: Path) -> Average:
    """Average the weights of the best 1, 2, ... kept epochs, choose by dev WER, write ``folder/model``."""
    paths = _read_inputs(folder)
    settings = load_settings(folder / "settings.yaml")
    progress = read_progress(folder)
    recogniser = _new_recogniser(settings, paths)
    dev_set = load_dev_set(DataDirectory.read(paths.dev), settings, recogniser.spelling, paths.dev)
    files = [Checkpoints(folder).epoch_path(int(epoch)) for _, epoch in progress.best]
    if not files:
        raise DataError(str(folder), "has no finished epoch yet", "at least one", "train on")
    scores = {n: _score(recogniser, files[:n], dev_set) for n in range(1, len(files) + 1)}
    # Of equals the larger average: it is the smoother model.
    chosen = min(scores, key=lambda n: (scores[n]["score"], -n))
    recogniser.trained.load_state_dict(average_weights(files[:chosen]))
    save_recogniser(recogniser, folder / "model")
    return Average({n: (s["dev_wer"], s["dev_cer"]) for n, s in scores.items()}, chosen)


def _score(recogniser: Recogniser, files: list[Path], dev_set: DevSet) -> dict[str, float]:
    recogniser.trained.load_state_dict(average_weights(files))
    recogniser.trained.eval()
    with torch.inference_mode():
        return dev_scores(recogniser, dev_set, torch.device("cpu"))


def _new_recogniser(settings: Settings, paths: TrainingPaths) -> Recogniser:
    tokens = TokenTable.read(paths.tokens)
    if paths.lexicon is None:
        return new_recogniser(settings, tokens)
    return new_recogniser(settings, tokens, Language(Lexicon.read(paths.lexicon, tokens)))


def _set_normalisation(recogniser: Recogniser, cmvn: CmvnStats, path: Path) -> None:
    normalise = recogniser.network.stages["normalise"]
    assert isinstance(normalise, Normalise)
    if len(cmvn.mean) != len(normalise.mean):
        allowed = f"{len(normalise.mean)}, as the features of these settings"
        raise DataError(str(path), f"holds {len(cmvn.mean)} channels", allowed, "run 'recitative cmvn' again")
    normalise.mean.copy_(torch.from_numpy(cmvn.mean))
    normalise.inverse_stddev.copy_(torch.from_numpy(cmvn.inverse_stddev))


def _claim(folder: Path, settings: Settings, paths: TrainingPaths) -> None:
    """Write the run's settings and inputs, or check that those of an earlier start are the same."""
    path = folder / "settings.yaml"
    resuming = (folder / "checkpoint" / "latest.pt").exists()
    if resuming and path.exists() and load_settings(path) != settings:
        raise UsageError(
            f"{folder}: holds a run with other settings ({path}); train into another folder, or remove this one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_settings(settings), encoding="utf-8")
    inputs = {name: str(path) for name, path in vars(paths).items() if path}
    (folder / "inputs.json").write_text(json.dumps(inputs, indent=1) + "\n", encoding="utf-8")


def _read_inputs(folder: Path) -> TrainingPaths:
    try:
        values = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    except OSError:
        raise DataError(
            str(folder), "has no inputs.json", "a training run's folder", "run 'recitative train'"
        ) from None
    return TrainingPaths(**{name: Path(value) for name, value in values.items()})


def _describe(folder: Path, recogniser: Recogniser, device: torch.device) -> None:
    """Write ``environment.json``: what the run ran on, for the report."""
    parameters = sum(p.numel() for p in recogniser.trained.parameters())
    facts = {
        "recitative": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "machine": describe_machine(),
        "cores": available_cores(),
        "commit": describe_commit(Path(__file__).parent),
        "parameters": parameters,
        "latency_ms": new_transcriber(recogniser).latency_ms,
    }
    (folder / "environment.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
