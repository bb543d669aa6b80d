"""Where a run's weights come from: another model (fine-tuning), and which of them stay as they are (freezing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from recitative import pretrained
from recitative.asr.network import RecognizerModel
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.errors import UsageError
from recitative.model.export.weights import open_for_training
from recitative.text.tokens import BLANK, TokenTable

OUTPUT = "stages.head.linear."  # the output layer: one row for each token
DECODER = "decoder."  # the attention decoder, which is of its tokens throughout


@dataclass(frozen=True)
class Inherited:
    """What was taken over: tokens whose output rows are the old model's, and those that begin at random."""

    known: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the user."""
        if not self.new:
            return f"outputs of all {len(self.known)} tokens taken over"
        shown = " ".join(self.new[:10]) + (" ..." if len(self.new) > 10 else "")
        return f"outputs of {len(self.known)} tokens taken over, {len(self.new)} begin at random: {shown}"


@torch.no_grad()
def start_from(recognizer: RecognizerModel, path: Path) -> Inherited:
    """Give a recognizer the weights of another, in a folder, an exported file or by name, in place; normalization too.

    The tokens may differ: the output rows of those that both know, by their symbols, are taken over, and the blank's;
    the others stay as they are. An attention decoder is taken over only with the same tokens.
    Raises UsageError for other features or another network.
    """
    path = pretrained.find(path)
    old = open_for_training(path, RECOGNIZER)
    if old.settings.features != recognizer.settings.features:
        raise UsageError(f"--init {path}: hears other features; use the settings features of {_settings_of(path)}")
    ours, theirs = _state(recognizer), _state(old)
    if old.tokens != recognizer.tokens:
        known = old.tokens.ids | {BLANK: 0}
        rows = [(i, known[symbol]) for i, symbol in enumerate(recognizer.tokens.symbols) if symbol in known]
        theirs = {name: value for name, value in theirs.items() if not name.startswith(DECODER)}
        for name in (f"{OUTPUT}weight", f"{OUTPUT}bias"):
            theirs[name] = _with_rows(ours[name], theirs[name], rows)
    _require_same_shapes(path, ours, theirs)
    for name, value in theirs.items():
        if name in ours:
            ours[name].copy_(value)
    return _inherited(recognizer.tokens, old.tokens)


def freeze(network: nn.Module, beginnings: Sequence[str]) -> int:
    """Exclude the parameters whose names start so from training; returns how many numbers stay as they are.

    Raises UsageError for a beginning that fits none, with those that would, and if nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    for beginning in beginnings:
        chosen = [p for name, p in parameters.items() if name.startswith(beginning)]
        if not chosen:
            known = sorted({name.rpartition(".")[0] for name in parameters})
            raise UsageError(f"train.frozen: no weight's name starts with '{beginning}'; there are {', '.join(known)}")
        for parameter in chosen:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in parameters.values()):
        raise UsageError("train.frozen: leaves nothing to train; leave something out")
    return sum(p.numel() for p in parameters.values() if not p.requires_grad)


def _state(recognizer: RecognizerModel) -> dict[str, Tensor]:
    """All tensors by the names they have in a file."""
    return dict(recognizer.trained.state_dict())


def _with_rows(new: Tensor, old: Tensor, rows: Sequence[tuple[int, int]]) -> Tensor:
    """(V, ...) with some rows from (V', ...)."""
    merged = new.clone()
    for target, source in rows:
        merged[target] = old[source]
    return merged


def _require_same_shapes(path: Path, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    for name, value in ours.items():
        if name.startswith(DECODER) and name not in theirs:
            continue
        found = tuple(theirs[name].shape) if name in theirs else "nothing"
        if name not in theirs or theirs[name].shape != value.shape:
            wanted = tuple(value.shape)
            raise UsageError(
                f"--init {path}: has {found} for {name}, not {wanted}; use the settings model of {_settings_of(path)}"
            )


def _settings_of(path: Path) -> str:
    """Where a user reads a model's settings."""
    return f"{path}/settings.yaml" if path.is_dir() else f"'recitative info {path} --settings'"


def _inherited(ours: TokenTable, theirs: TokenTable) -> Inherited:
    symbols = ours.symbols[1:]
    return Inherited(
        tuple(symbol for symbol in symbols if symbol in theirs.ids),
        tuple(symbol for symbol in symbols if symbol not in theirs.ids),
    )
