"""Recognizers as bundles of ``torchaudio.pipelines``, so that code written for those runs with ours.

    bundle = recitative.torchaudio_bundle("en")    # in place of: bundle = torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H

The methods are those of ``Wav2Vec2ASRBundle`` and, for forced alignment, of ``Wav2Vec2FABundle``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recitative import pretrained
from recitative.asr.kind import RECOGNIZER
from recitative.asr.stream import Transcriber, load_transcriber
from recitative.errors import UsageError
from recitative.model.folder import TorchStage, load_model, run_model
from recitative.stage import Padded, run_whole
from recitative.text.lexicon import spelling_of
from recitative.text.tokens import name_of


def torchaudio_bundle(model: str | Path, *, threads: int = 1) -> TorchaudioBundle:
    """A pretrained recognizer by name, an exported file or a model folder. Raises DataError for anything else."""
    path = pretrained.find(model)
    if path.is_dir():
        return TorchaudioBundle(run_model(load_model(path, RECOGNIZER)).network)
    return TorchaudioBundle(load_transcriber(path, threads=threads))


class TorchaudioBundle:
    """A recognizer with the methods of torchaudio's bundles."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber

    @property
    def sample_rate(self) -> int:
        """In Hz, of the waveforms that the model takes."""
        return self._transcriber.sample_rate

    def get_model(self, with_star: bool = False, *, dl_kwargs: object = None) -> EmissionModel:
        """The network as a module. with_star: its emissions have one more label, of probability 1, which stands for any
        words in an alignment; dl_kwargs: without effect, nothing is downloaded."""
        return EmissionModel(self._transcriber, with_star).eval()

    def get_labels(self, star: str | None = None, blank: str = "-") -> tuple[str, ...]:
        """The labels of the emissions: the blank, the tokens ('|' for the space), and ``star`` if it is given."""
        names = ("|" if symbol == " " else name_of(symbol) for symbol in self._transcriber.tokens.symbols[1:])
        return (blank, *names, *([star] if star is not None else []))

    def get_dict(self, star: str | None = None, blank: str = "-") -> dict[str, int]:
        """Label -> its number."""
        return {label: number for number, label in enumerate(self.get_labels(star, blank))}

    def get_tokenizer(self) -> Callable[[Sequence[str]], list[list[int]]]:
        """Words -> the labels of each; of a model of phones, its first pronunciation in the lexicon.

        Raises DataError for words that cannot be written.
        """
        spelling = spelling_of(self._transcriber.tokens, self._transcriber.language.lexicon)
        return lambda words: [spelling.encode(word) for word in words]

    def get_aligner(self) -> Callable[[Tensor, Sequence[Sequence[int]]], list[list[Any]]]:
        """Emissions (T, V) and the labels of each word -> for each word, torchaudio's ``TokenSpan`` of each label.

        It runs on the device of the emissions, and finds the path that ``recitative align`` finds on the CPU.
        """
        return _align


class EmissionModel(nn.Module):
    """Waveforms -> log probabilities of the labels, without gradients.

    The network of a model folder runs on the device that the module is moved to, that of an exported file on the CPU.
    """

    def __init__(self, transcriber: Transcriber, with_star: bool) -> None:
        super().__init__()
        self._transcriber, self._with_star = transcriber, with_star
        if isinstance(transcriber.network, TorchStage):
            self.network = transcriber.network.network  # as a submodule, so that to() moves it

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(N, S) float in [-1, 1], and valid samples (N,) or None for all -> (N, T, V) float32, and frames (N,) or
        None, on the device of the waveforms."""
        y = run_whole(self._transcriber, _padded(waveforms, lengths))
        emissions, frames = _tensors(y, waveforms, lengths)
        if self._with_star:
            emissions = nn.functional.pad(emissions, (0, 1))
        return emissions, frames

    def extract_features(
        self, waveforms: Tensor, lengths: Tensor | None = None, num_layers: int | None = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """The acoustic features (N, T', C) as a list of one: layers of the network are not given, whatever
        ``num_layers``."""
        y = run_whole(self._transcriber.extractor, _padded(waveforms, lengths))
        features, frames = _tensors(y, waveforms, lengths)
        return [features], frames


def _padded(waveforms: Tensor, lengths: Tensor | None) -> Padded[Any]:
    """Raises UsageError for another shape or type, or lengths that are not those of the waveforms."""
    if waveforms.ndim != 2 or not len(waveforms):
        raise UsageError(f"waveforms have the shape {tuple(waveforms.shape)}; (batch, samples), one row or more")
    if not waveforms.is_floating_point():
        raise UsageError(f"waveforms are {waveforms.dtype}; floating point in [-1, 1]")
    rows, samples = waveforms.shape
    counts = np.full(rows, samples, np.int64) if lengths is None else lengths.detach().cpu().numpy().astype(np.int64)
    if counts.shape != (rows,) or (counts < 0).any() or (counts > samples).any():
        raise UsageError(f"lengths {counts.tolist()}; {rows} numbers from 0 to {samples}")
    data = waveforms.detach().cpu().float().numpy().copy()
    data[np.arange(samples) >= counts[:, None]] = 0.0
    return Padded(data, counts)


def _tensors(y: Padded[Any], waveforms: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    frames = None if lengths is None else torch.from_numpy(np.asarray(y.lengths)).to(lengths.device)
    data = np.ascontiguousarray(y.data[:, : y.lengths.max(initial=0)])  # a graph may give more frames than are valid
    return torch.from_numpy(data).to(waveforms.device), frames


def _align(emission: Tensor, tokens: Sequence[Sequence[int]]) -> list[list[Any]]:
    from torchaudio.functional import forced_align, merge_tokens

    labels = [label for word in tokens for label in word]
    targets = torch.tensor([labels], dtype=torch.int32, device=emission.device)
    path, scores = forced_align(emission[None].contiguous(), targets, blank=0)
    spans = iter(merge_tokens(path[0], scores[0].exp()))
    return [[next(spans) for _ in word] for word in tokens]
