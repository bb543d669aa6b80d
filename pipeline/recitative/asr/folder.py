"""A model on disk: one folder with weights (normalisation included), settings and tokens. Nothing is unpickled.

weights.safetensors   every parameter and buffer by name: ``stages.*``, and ``decoder.*`` where there is a decoder
settings.yaml         the resolved settings of the run, features included: whoever decodes has none to choose
tokens.txt            the token table
lexicon.txt, lm.ngram, confidence.json    where there are any: see ``asr.language``
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from recitative.asr.attention_decoder import AttentionDecoder
from recitative.asr.language import NO_LANGUAGE, Language
from recitative.asr.network import build_decoder, build_recogniser, encoder, output_layer
from recitative.config import Settings, dump_settings, load_settings
from recitative.model.weights import (
    SETTINGS,
    TOKENS,
    load_weights,
    require_files,
    save_weights,
    writing_model,
)
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain
from recitative.stage import Padded
from recitative.text.lexicon import Spelling, spelling_of
from recitative.text.tokens import TokenTable


@dataclass(frozen=True)
class Recogniser:
    """A network with everything needed to turn samples into text; ``decoder`` is for training and rescoring."""

    settings: Settings
    tokens: TokenTable
    network: Chain
    decoder: AttentionDecoder | None = None
    language: Language = NO_LANGUAGE

    @property
    def spelling(self) -> Spelling:
        """How transcripts become labels."""
        return spelling_of(self.tokens, self.language.lexicon)

    @property
    def trained(self) -> nn.Module:
        """All weights, of the network and of the decoder, as one module; what is trained, averaged and saved."""
        if self.decoder is None:
            return self.network
        return nn.ModuleDict({"stages": self.network.stages, "decoder": self.decoder})

    @property
    def core(self) -> RecurrentStack:
        """The network's recurrent core."""
        return cast(RecurrentStack, self.network.stages["core"])

    def encode(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Whole inputs (N, T, C) -> what the output layer and the decoder hear, (N, T', H)."""
        stages = encoder(self.network)
        return stages.step(features, stages.initial_state(len(features.lengths)), last=True)[0]

    def log_probs(self, encoded: Padded[Tensor]) -> Padded[Tensor]:
        """(N, T', H) -> (N, T', V): after ``encode`` what the network says of the whole input."""
        return output_layer(self.network).step(encoded, {}, last=True)[0]


def new_recogniser(settings: Settings, tokens: TokenTable, language: Language | None = None) -> Recogniser:
    """A recogniser with random weights (from torch's generator)."""
    network = build_recogniser(settings.model, settings.features.dim, len(tokens))
    return Recogniser(settings, tokens, network, build_decoder(settings.model, network), language or NO_LANGUAGE)


def save_recogniser(recogniser: Recogniser, folder: Path) -> None:
    """Write the folder; atomic: an older model stays whole until the new one is."""
    with writing_model(folder) as partial:
        save_weights(recogniser.trained, partial)
        (partial / SETTINGS).write_text(dump_settings(recogniser.settings), encoding="utf-8")
        recogniser.tokens.write(partial / TOKENS)
        recogniser.language.write(partial)


def load_recogniser(folder: Path) -> Recogniser:
    """Read a model folder, in evaluation mode. Raises DataError for anything but a whole model."""
    require_files(folder, "a model folder", "make one with 'recitative average EXP'")
    tokens = TokenTable.read(folder / TOKENS)
    recogniser = new_recogniser(load_settings(folder / SETTINGS), tokens, Language.read(folder, tokens))
    load_weights(recogniser.trained, folder, "make the model again with 'recitative average EXP'")
    return recogniser
