"""From samples to log probabilities, and to words with times. NumPy only."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from recitative.asr.decoders import Decoder, Spoken, TimedTable, Wishes, new_decoder
from recitative.asr.language import Language
from recitative.asr.recognizer_kind import RECOGNIZER, language_of
from recitative.audio.vad import SegmentRules
from recitative.config import Settings
from recitative.model.onnx_stage import OnnxStage
from recitative.model.samples import SampleNetwork, pad_samples
from recitative.stage import Array, Padded, Stage
from recitative.text.tokens import TokenTable


class DecodedNetwork(SampleNetwork):
    """A network of samples and the decoder that reads what it says: what ``asr.recognizer`` runs.

    settings: those of the model; segments: where a stream may be cut, each segment being heard anew
    """

    settings: BaseModel
    decoder: Decoder
    segments: SegmentRules = SegmentRules()


class Transcriber(DecodedNetwork):
    """Stage: samples (N, S) float32 in [-1, 1] -> log probabilities (N, T, V) float32; see ``SampleNetwork``."""

    settings: Settings

    def __init__(
        self,
        network: Stage[Array],
        settings: Settings,
        tokens: TokenTable,
        language: Language | None = None,
        wishes: Wishes | None = None,
    ) -> None:
        """network: features (N, T, C) -> log probabilities (N, T', V), a stage on NumPy arrays."""
        super().__init__(network, settings.features)
        self.settings = settings
        self.tokens = tokens
        self.language = language or Language()
        self.timed = TimedTable(tokens, self.frame_s)
        self.wishes = wishes or Wishes()

    @cached_property
    def decoder(self) -> Decoder:  # type: ignore[override]  # built when it is first needed
        """What the settings, the model's language and the wishes ask for; built when it is first needed.

        Raises DataError, UsageError: see ``asr.decoders.new_decoder``.
        """
        return new_decoder(self.settings.decode, self.timed, self.language, self.wishes)

    def with_wishes(self, wishes: Wishes) -> Transcriber:
        """The same model, decoded in another way."""
        return Transcriber(self.network, self.settings, self.tokens, self.language, wishes)

    def with_decoder(self, decoder: Decoder) -> Transcriber:
        """The same model, asked for something else than its words."""
        other = copy.copy(self)
        other.decoder = decoder
        return other

    def transcribe(self, rows: Sequence[Array], *, chunk_samples: int | None = None) -> list[Spoken]:
        """What is said in several recordings (S,) at once: whole, or in chunks as a stream would bring them."""
        x = pad_samples(rows)
        step = chunk_samples or x.data.shape[1]
        state = self.initial_state(len(rows))
        heard = [self.decoder.start() for _ in rows]
        for start in range(0, max(x.data.shape[1], 1), step):
            piece = Padded(x.data[:, start : start + step], np.clip(x.lengths - start, 0, step))
            y, state = self.step(piece, state, last=start + step >= x.data.shape[1])
            heard = [
                self.decoder.step(log_probs[:length], past)
                for past, log_probs, length in zip(heard, y.data, y.lengths, strict=True)
            ]
        return [self.decoder.finish(past) for past in heard]


def load_transcriber(model: Path | bytes, *, threads: int = 1, wishes: Wishes | None = None) -> Transcriber:
    """The whole chain from samples to words around a recognizer's file, or what is in one. Raises DataError."""
    stage = OnnxStage(model, RECOGNIZER, threads=threads)
    extras = stage.metadata.extras
    return Transcriber(stage, stage.metadata.settings, extras["tokens"], language_of(extras), wishes)
