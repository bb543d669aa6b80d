"""A CTC recognizer: normalization, front end, the recurrent core, look-ahead, log probabilities over tokens.

An attention decoder (``nn.heads``) may be trained together with it. Both read the encoder, which is every stage but
the last. ``torchaudio_bundle`` gives a trained recognizer the methods of ``torchaudio.pipelines``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from recitative import pretrained
from recitative.asr.decoding import NO_OPTIONS, DecodingOptions
from recitative.asr.kind import NO_LANGUAGE, RECOGNIZER, Language, language_of
from recitative.asr.stream import Transcriber, load_transcriber
from recitative.config import ModelSettings, Settings
from recitative.decoding.hypotheses import Calibrator
from recitative.errors import UsageError
from recitative.lm.ngram import StoredNgram
from recitative.model.folder import TorchStage, load_model, run_model
from recitative.model.kind import ModelKind
from recitative.nn.heads import AttentionDecoder
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout, LogProbs, RowConv, add_front_end, normalization_stages
from recitative.stage import Padded, run_whole
from recitative.text.tokens import Lexicon, Spelling, TokenTable, name_of, spelling_of


@dataclass(frozen=True)
class RecognizerModel:
    """A network with its tokens and language; ``decoder`` is for training and rescoring."""

    kind: ClassVar[ModelKind] = RECOGNIZER
    settings: Settings
    tokens: TokenTable
    network: Chain
    decoder: AttentionDecoder | None = None
    language: Language = NO_LANGUAGE

    @property
    def lexicon(self) -> Lexicon | None:
        return self.language.lexicon

    @property
    def lm(self) -> StoredNgram | None:
        return self.language.ngram

    @property
    def calibrator(self) -> Calibrator | None:
        return self.language.calibrator

    @property
    def priors(self) -> tuple[float, ...] | None:
        return self.language.priors

    @property
    def spelling(self) -> Spelling:
        """The spelling of transcripts in labels."""
        return spelling_of(self.tokens, self.language.lexicon)

    @property
    def trained(self) -> nn.Module:
        """The weights of network and decoder as one module, which is trained, averaged and saved."""
        if self.decoder is None:
            return self.network
        return nn.ModuleDict({"stages": self.network.stages, "decoder": self.decoder})

    @property
    def core(self) -> RecurrentStack:
        """The network's recurrent core."""
        return cast(RecurrentStack, self.network.stages["core"])

    def encode(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Whole inputs (N, T, C) -> the encoder's output (N, T', H), which output layer and decoder read."""
        return run_whole(encoder(self.network), features)

    def log_probs(self, encoded: Padded[Tensor]) -> Padded[Tensor]:
        """Encoder's output (N, T', H) -> log probabilities (N, T', V) of the whole input."""
        return run_whole(output_layer(self.network), encoded)


def build_recognizer(settings: ModelSettings, feature_dim: int, num_tokens: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> log probabilities (N, T', num_tokens)."""
    stages = normalization_stages(settings.cmvn, feature_dim)
    width = add_front_end(stages, settings.front_end, feature_dim)
    if settings.input_dropout:
        stages["dropout"] = Dropout(width, settings.input_dropout)
    core = RecurrentStack(width, settings.recurrent)
    stages["core"] = core
    if settings.lookahead_frames:
        stages["ahead"] = RowConv(core.output_width, settings.lookahead_frames)
    stages["head"] = LogProbs(core.output_width, num_tokens, settings.front_end.outputs_per_step)
    return Chain(stages)


def build_decoder(settings: ModelSettings, network: Chain) -> AttentionDecoder | None:
    """The attention decoder on this network's encoder; None where ``attention.weight`` is 0."""
    if not settings.attention.weight:
        return None
    output = output_layer(network).linear
    return AttentionDecoder(output.in_features, output.out_features, settings.attention)


def encoder(network: Chain) -> Chain:
    """The stages before the output layer, the network's own: (N, T, feature_dim) -> (N, T', C)."""
    return Chain({name: stage for name, stage in network.stages.items() if name != "head"})


def output_layer(network: Chain) -> LogProbs:
    return cast(LogProbs, network.stages["head"])


def new_recognizer(settings: Settings, tokens: TokenTable, language: Language | None = None) -> RecognizerModel:
    """A recognizer with random weights (from torch's generator)."""
    network = build_recognizer(settings.model, settings.features.dim, len(tokens))
    return RecognizerModel(settings, tokens, network, build_decoder(settings.model, network), language or NO_LANGUAGE)


def build(settings: Settings, tokens: TokenTable, **language: Any) -> RecognizerModel:
    """The same with the extras of ``RECOGNIZER``."""
    return new_recognizer(settings, tokens, language_of(language))


def new_transcriber(recognizer: RecognizerModel, options: DecodingOptions = NO_OPTIONS) -> Transcriber:
    """All steps from samples to words with a recognizer in memory, run by PyTorch."""
    network = TorchStage(recognizer.network)
    return Transcriber(network, recognizer.settings, recognizer.tokens, recognizer.language, options)


# Bundles of torchaudio


def torchaudio_bundle(model: str | Path, *, threads: int = 1) -> TorchaudioBundle:
    """A recognizer for code that was written for ``Wav2Vec2ASRBundle`` and ``Wav2Vec2FABundle``.

    model: the name of a pretrained one, an exported file or a model folder. Raises DataError for anything else.
    """
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
