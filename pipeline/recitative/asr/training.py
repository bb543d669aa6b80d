"""Train a recogniser from data directories or shards, alone or with other workers."""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recitative import __version__
from recitative.asr.data import RecognitionDataset, load_dev_set
from recitative.asr.distillation import load_teacher, read_alternatives
from recitative.asr.initial import freeze, start_from
from recitative.asr.language import Language
from recitative.asr.network import Recogniser, new_recogniser
from recitative.asr.streams_network import new_transcriber
from recitative.asr.task import RecognitionTask
from recitative.atomic import update_text
from recitative.config import Settings, dump_settings, load_settings
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, RecitativeError, UsageError
from recitative.features.cmvn import CmvnStats
from recitative.lock import one_writer
from recitative.machine import available_cores, describe_machine
from recitative.nn.normalize import Normalize
from recitative.score.results import describe_commit
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable
from recitative.train.audio import AudioDataset
from recitative.train.checkpoint import Checkpoints, Progress
from recitative.train.distributed import DistributedContext, choose_device, join_ranks
from recitative.train.experiment import digest, holds_settings
from recitative.train.log import Console
from recitative.train.loop import fit


@dataclass(frozen=True)
class TrainingPaths:
    """What a run reads; remembered in the experiment folder as ``inputs.json``."""

    train: Path
    dev: Path
    tokens: Path
    cmvn: Path | None = None  # None: the normalisation of ``init``
    lexicon: Path | None = None  # where tokens are phones
    init: Path | None = None  # a model folder whose weights the run begins with
    teacher: Path | None = None  # a model folder to learn from as well
    unlabelled: Path | None = None  # more audio for the teacher
    alternatives: Path | None = None  # a teacher's n-best texts of the training utterances


def train_recogniser(settings: Settings, paths: TrainingPaths, folder: Path, *, quiet: bool = False) -> Progress:
    """Train into ``folder``, or go on where a run with the same settings stopped.

    Under torchrun this is one worker of many, and only the first writes files. Raises UsageError if the folder holds a
    run with other settings, RunError if another process writes to it or if workers have other data, and what the
    training set and the loop raise.
    """
    device = choose_device(settings.train)
    with join_ranks(device) as context, ExitStack() as held:
        torch.set_num_threads(_threads(settings, context))
        console = Console(quiet=quiet or not context.is_first)
        error: RecitativeError | None = None
        try:
            if context.is_first:
                held.enter_context(one_writer(folder))
            recogniser, task = _prepare(settings, paths, folder, device, context, console)
        except RecitativeError as caught:
            error = caught
        context.raise_together(error)
        context.assert_same_across_ranks(_facts(settings, paths, task.dataset))
        if context.is_first:
            _describe(folder, recogniser, device, context)
        mark = run_digest(settings, recogniser.tokens)
        return fit(task, settings.train, folder, device=device, console=console, context=context, digest=mark)


def run_digest(settings: Settings, tokens: TokenTable) -> str:
    """Of what a run cannot be resumed without."""
    return digest(_of_result(settings), tokens.to_text())


def _prepare(
    settings: Settings,
    paths: TrainingPaths,
    folder: Path,
    device: torch.device,
    context: DistributedContext,
    console: Console,
) -> tuple[Recogniser, RecognitionTask]:
    _claim(folder, settings, paths, write=context.is_first)
    torch.manual_seed(settings.train.seed)
    recogniser = new_recogniser_of(settings, paths)
    if paths.init:
        console.note(f"begins with {paths.init}: {start_from(recogniser, paths.init)}")
    normalise = _normalisation(recogniser, paths)
    if frozen := freeze(recogniser.trained, settings.train.frozen):
        console.note(f"{frozen} of {sum(p.numel() for p in recogniser.trained.parameters())} weights are frozen")
    recogniser.core.recompute = settings.train.recompute
    teacher = load_teacher(paths.teacher, recogniser, device) if paths.teacher else None
    if paths.unlabelled and not teacher:
        raise UsageError(f"--unlabelled {paths.unlabelled}: needs a --teacher, who says what is in it")
    data = DataDirectory.read(paths.train)
    alternatives = (
        read_alternatives(paths.alternatives, data.utterances, recogniser.spelling, settings.distill.nbest)
        if paths.alternatives
        else None
    )
    dataset = RecognitionDataset(
        data,
        settings,
        recogniser.spelling,
        normalise.mean.numpy().copy(),
        paths.train,
        teach=teacher is not None,
        unlabelled=DataDirectory.read(paths.unlabelled) if paths.unlabelled else None,
        alternatives=alternatives,
    )
    dev_set = load_dev_set(DataDirectory.read(paths.dev), settings, recogniser.spelling, paths.dev)
    return recogniser, RecognitionTask(recogniser, dataset, dev_set, device, teacher, context)


def new_recogniser_of(settings: Settings, paths: TrainingPaths) -> Recogniser:
    """A recogniser of a run's tokens and lexicon, with random weights."""
    tokens = TokenTable.read(paths.tokens)
    if paths.lexicon is None:
        return new_recogniser(settings, tokens)
    return new_recogniser(settings, tokens, Language(Lexicon.read(paths.lexicon, tokens)))


def read_inputs(folder: Path) -> TrainingPaths:
    """What the run in a folder reads. Raises DataError for a folder without a run."""
    try:
        values = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    except OSError:
        raise DataError(
            str(folder), "has no inputs.json", "a training run's folder", "run 'recitative train'"
        ) from None
    return TrainingPaths(**{name: Path(value) for name, value in values.items()})


def _threads(settings: Settings, context: DistributedContext) -> int:
    cores = available_cores() // context.local_size
    return settings.train.threads or max(1, cores - settings.train.workers)


def _normalisation(recogniser: Recogniser, paths: TrainingPaths) -> Normalize:
    """The network's normalisation, with the statistics of this corpus if there are any."""
    normalise = recogniser.network.stages["normalise"]
    assert isinstance(normalise, Normalize)
    if paths.cmvn is None:
        if paths.init is None:
            raise UsageError("--cmvn: is needed without --init; make the statistics with 'recitative cmvn'")
        return normalise
    cmvn = CmvnStats.read(paths.cmvn)
    if len(cmvn.mean) != len(normalise.mean):
        allowed = f"{len(normalise.mean)}, as the features of these settings"
        raise DataError(str(paths.cmvn), f"holds {len(cmvn.mean)} channels", allowed, "run 'recitative cmvn' again")
    normalise.mean.copy_(torch.from_numpy(cmvn.mean))
    normalise.inverse_stddev.copy_(torch.from_numpy(cmvn.inverse_stddev))
    return normalise


def _claim(folder: Path, settings: Settings, paths: TrainingPaths, *, write: bool) -> None:
    """Write the run's settings and inputs, or check that those of an earlier start are the same."""
    path = folder / "settings.yaml"
    if holds_settings(folder) and _of_result(load_settings(path)) != _of_result(settings):
        raise UsageError(
            f"{folder}: holds a run with other settings ({path}); train into another folder, or remove this one"
        )
    Checkpoints(folder, run_digest(settings, TokenTable.read(paths.tokens))).progress()  # refused before writing
    if write:
        update_text(path, dump_settings(settings))
        inputs = {name: str(path) for name, path in vars(paths).items() if path}
        update_text(folder / "inputs.json", json.dumps(inputs, indent=1) + "\n")


def _of_result(settings: Settings) -> Settings:
    """Settings without those that a resumed run may change, since they change no result but by rounding."""
    standard = type(settings.train)()
    free = ("accumulate", "most_s", "recompute", "workers", "threads", "cache_mb", "device", "checkpoint_every_steps")
    train = settings.train.model_copy(update={name: getattr(standard, name) for name in free})
    return settings.model_copy(update={"train": train})


def _facts(settings: Settings, paths: TrainingPaths, dataset: AudioDataset[Any]) -> dict[str, object]:
    """What all workers must agree on."""
    ids = hashlib.sha256("\n".join(u.utt_id for u in dataset.utterances).encode("utf-8")).hexdigest()
    return {
        "version": __version__,
        "utterances": len(dataset.utterances),
        "seconds of audio": round(float(dataset.seconds.sum()), 3),
        "utterance ids (SHA-256)": ids[:12],
        "tokens (SHA-256)": hashlib.sha256(paths.tokens.read_bytes()).hexdigest()[:12],
        "settings (SHA-256)": hashlib.sha256(dump_settings(settings).encode("utf-8")).hexdigest()[:12],
    }


def _describe(folder: Path, recogniser: Recogniser, device: torch.device, context: DistributedContext) -> None:
    """Write ``environment.json``: what the run ran on, for the report."""
    parameters = sum(p.numel() for p in recogniser.trained.parameters())
    facts = {
        "recitative": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "workers": context.size,
        "threads": torch.get_num_threads(),
        "machine": describe_machine(),
        "cores": available_cores(),
        "commit": describe_commit(Path(__file__).parent),
        "parameters": parameters,
        "latency_ms": new_transcriber(recogniser).latency_ms,
    }
    update_text(folder / "environment.json", json.dumps(facts, indent=1) + "\n")
