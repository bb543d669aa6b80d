"""The kind 'g2p': letter-to-sound models (grapheme to phoneme), which pronounce words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from recitative.config import RecurrentSettings, Section, TrainingData
from recitative.lm.kind import TextTrainSettings
from recitative.model.file import ModelMetadata
from recitative.model.kind import TOKENS, ModelKind, token_graph
from recitative.stage import Array, Stage
from recitative.text.tokens import TokenTable

if TYPE_CHECKING:
    from recitative.asr.pronouncer import Pronouncer


class G2PCoreSettings(RecurrentSettings):
    """The recurrent core. The pronunciation of a letter depends on both sides."""

    direction: Literal["bidirectional"] = "bidirectional"
    layers: int = Field(2, ge=1)
    hidden: int = Field(192, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)


class G2PNetworkSettings(Section):
    embedding: int = Field(64, ge=1)  # embedding width of letters
    frames_per_letter: int = Field(3, ge=1)  # CTC frames; an upper bound for the phones of a word
    recurrent: G2PCoreSettings = G2PCoreSettings()


class G2PTrainSettings(TextTrainSettings):
    """Training settings with other defaults."""

    epochs: int = Field(8, ge=1)
    learning_rate: float = Field(2e-3, gt=0)  # peak
    warmup_steps: int = Field(300, ge=0)
    patience: int = Field(0, ge=0)
    ema: float = Field(0.999, ge=0, lt=1)


class G2PSettings(Section):
    """Settings of a letter-to-sound model."""

    kind: Literal["g2p"] = "g2p"  # identifies the kind of model
    batch_words: int = Field(128, ge=1)
    held_out: int = Field(10, ge=2)  # one of this many words is held out to score the model
    model: G2PNetworkSettings = G2PNetworkSettings()
    train: G2PTrainSettings = G2PTrainSettings()


class G2PData(TrainingData):
    train: Path  # a pronunciation dictionary, such as CMU's cmudict.dict; some of its words are held out
    lower: bool = False  # read its words in lower case
    keep_stress: bool = False  # learn the stress marks too


def describe(metadata: ModelMetadata) -> dict[str, str]:
    letters, phones = metadata.extras["letters"], metadata.extras["phones"]
    return {
        "kind": "letter-to-sound model",
        "letters": " ".join(letters.symbols[1:]),
        "phones": " ".join(phones.symbols[1:]),
    }


def _run(stage: Stage[Array], _settings: G2PSettings, letters: TokenTable, phones: TokenTable) -> Pronouncer:
    from recitative.asr.pronouncer import Pronouncer

    return Pronouncer(stage, letters, phones)


G2P = ModelKind(
    name="g2p",
    title="letter-to-sound model",
    settings=G2PSettings,
    data=G2PData,
    build="recitative.asr.g2p_task:new_g2p",
    task="recitative.asr.g2p_task:prepare",
    runner=_run,
    graphs=lambda settings, extras: token_graph(settings.model.frames_per_letter * len(extras["phones"])),
    describe=describe,
    extras={"letters": replace(TOKENS, file="letters.txt"), "phones": TOKENS},
    writer="recitative.asr.g2p_task:write_g2p",
    int8="weights",
)
