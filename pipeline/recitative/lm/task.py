"""Training of recurrent language models: the network, and the task, to predict the next word or character of
transcripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from recitative.data.directory import read_transcripts, require_ids, table_of
from recitative.data.tables import words_of
from recitative.errors import DataError, counted
from recitative.lm.recurrent import (
    LANGUAGE_MODEL,
    LanguageModelData,
    LanguageModelSettings,
    NetworkSettings,
    RecurrentLanguageModel,
)
from recitative.model.folder import TorchStage
from recitative.model.kind import ModelKind
from recitative.nn.heads import Embedding, TiedLogProbs
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout, LogProbs
from recitative.text.tokens import Vocabulary
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun
from recitative.train.task import StreamTask, TextStreams


@dataclass(frozen=True)
class LanguageModelNetwork:
    """A network with everything needed to read text."""

    kind: ClassVar[ModelKind] = LANGUAGE_MODEL
    settings: LanguageModelSettings
    vocabulary: Vocabulary
    network: Chain


def build_language_model(settings: NetworkSettings, num_tokens: int) -> Chain:
    """The network as one stage: token ids (N, T) -> ln P(next token | tokens so far) (N, T, num_tokens)."""
    embedding = Embedding(num_tokens, settings.embedding)
    core = RecurrentStack(settings.embedding, settings.recurrent)
    stages: dict[str, nn.Module] = {"embedding": embedding}
    if settings.dropout:
        stages["input_dropout"] = Dropout(settings.embedding, settings.dropout)
    stages["core"] = core
    width = core.output_width
    if settings.dropout:
        stages["output_dropout"] = Dropout(width, settings.dropout)
    stages["head"] = TiedLogProbs(width, embedding) if settings.tied else LogProbs(width, num_tokens)
    return Chain(stages)


def new_language_model(settings: LanguageModelSettings, vocabulary: Vocabulary) -> LanguageModelNetwork:
    """A language model with random weights (from torch's generator)."""
    return LanguageModelNetwork(settings, vocabulary, build_language_model(settings.model, len(vocabulary)))


def new_scorer(model: LanguageModelNetwork) -> RecurrentLanguageModel:
    """The scorer around a language model in memory, as it stands: in evaluation mode it has no dropout."""
    return RecurrentLanguageModel(TorchStage(model.network), model.vocabulary)


class LanguageModelTask(StreamTask):
    """Models are chosen by the loss on dev, where every sentence starts from nothing, as in use."""

    def __init__(
        self, model: LanguageModelNetwork, streams: TextStreams, dev: Sequence[str], device: torch.device
    ) -> None:
        super().__init__(model.network, streams, device)
        self.model, self.dev = model, dev

    def evaluate(self) -> Mapping[str, float]:
        scores = text_scores(new_scorer(self.model), self.dev)
        return scores | {"score": scores["dev_loss"]}

    def result(self, progress: Progress) -> str:
        perplexity = text_scores(new_scorer(self.model), self.dev)["dev_perplexity"]
        return f"{super().result(progress)}, perplexity {perplexity:.2f} per word"


def prepare(settings: LanguageModelSettings, data: LanguageModelData, run: TrainingRun) -> LanguageModelTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    texts, dev_texts = read_texts(data.train), read_texts([data.dev])
    vocabulary = Vocabulary.from_texts(texts, settings.text.unit, settings.text.min_count)
    run.start(settings, vocabulary.table.to_text())
    if unknown := vocabulary.count_unknown(dev_texts):
        examples = ", ".join(f"'{symbol}'" for symbol, _ in unknown.most_common(5)) + ", ..." * (len(unknown) > 5)
        run.warn(
            f"{data.dev}: not in the vocabulary: {counted(unknown.total(), settings.text.unit)} ({examples}), "
            "scored as unknown"
        )
    model = new_language_model(settings, vocabulary)
    sentences = [vocabulary.encode(text) for text in texts]
    streams = TextStreams(sentences, streams=settings.text.streams, bptt=settings.text.bptt, seed=settings.train.seed)
    return LanguageModelTask(model, streams, dev_texts, run.device)


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The transcripts of text tables, data directories or shards. Raises DataError for texts without a word."""
    for path in paths:
        require_ids(path, "name a data directory, or a table of 'utterance words...' lines")
    texts = [words_of(row.value) for path in paths for row in read_transcripts(path)]
    if not any(texts):
        raise DataError(str(table_of(paths[0])), "has no words", "at least one", "add the transcripts")
    return texts


def text_scores(model: RecurrentLanguageModel, texts: Sequence[str]) -> dict[str, float]:
    """Loss in nats per token, and perplexity per word; the ends of sentences count as tokens and as words.

    The perplexity can be compared with that of any model that knows the same words, whatever its tokens are.
    """
    total = sum(model.score_texts(texts))
    tokens = sum(len(model.vocabulary.encode(text)) + 1 for text in texts)
    words = sum(len(text.split()) + 1 for text in texts)
    return {"dev_loss": -total / tokens, "dev_perplexity": math.exp(-total / words)}
