"""Training of models that restore punctuation and case: the network, written text as training data, and the task.

The network: embedding of words, the recurrent core, look-ahead, and P(mark and case of each word).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recitative.model.folder import run_model
from recitative.model.kind import ModelKind
from recitative.nn.heads import EmbeddedFeatures
from recitative.nn.ragged import to_device, valid_mask
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, LogProbs, Project, RowConv
from recitative.punctuation.punctuator import (
    CASES,
    LABELS,
    MARKS,
    PUNCTUATION,
    SENTENCE_ENDS,
    UPPER,
    LabeledWord,
    PunctuationData,
    PunctuationNetworkSettings,
    PunctuationSettings,
    mean_f1,
    read_lines,
    read_written,
    score_passages,
    summary,
    word_features,
)
from recitative.stage import Array, Ids, Mask, Padded, run_whole
from recitative.text.tokens import Vocabulary
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun
from recitative.train.task import Batch, Task

FIRST_CASE = len(CASES)  # lower or capital: the target of the first word of a sentence, which always has a capital
PRIOR_WORDS = 20.0  # weight of the prior, the distribution of all words, in occurrences
ODDS_SCALE = 0.3
CHOOSING = 500  # passages of dev that score an epoch; all of them score the result


@dataclass(frozen=True)
class PunctuationModel:
    """A network with its vocabulary; ``punctuation.punctuator`` runs it."""

    kind: ClassVar[ModelKind] = PUNCTUATION
    settings: PunctuationSettings
    vocabulary: Vocabulary
    network: Chain


def build_network(settings: PunctuationNetworkSettings, words: int) -> Chain:
    """The network as one stage: features of words (N, T, 4) -> ln P of their labels (N, T, 15)."""
    core = RecurrentStack(settings.embedding, settings.recurrent)
    stages: dict[str, nn.Module] = {
        "embedding": EmbeddedFeatures(words + settings.buckets, settings.embedding, settings.dropout),
        "core": core,
        "lookahead": RowConv(core.output_width, settings.lookahead_words),
        "project": Project(core.output_width, settings.width),
        "head": LogProbs(settings.width, len(LABELS)),
    }
    return Chain(stages)


def new_punctuation_model(settings: PunctuationSettings, vocabulary: Vocabulary) -> PunctuationModel:
    """A model with random weights (from torch's generator)."""
    return PunctuationModel(settings, vocabulary, build_network(settings.model, len(vocabulary)))


def prepare(settings: PunctuationSettings, data: PunctuationData, run: TrainingRun) -> PunctuationTask:
    """The task of a run; see ``train.run``. Raises DataError for text without a word."""
    text = read_passages(data.train)
    dev = [read_written(line) for line in read_lines(data.dev)]
    vocabulary = text.vocabulary(settings.text.min_count)
    run.start(settings, vocabulary.table.to_text())
    model = new_punctuation_model(settings, vocabulary)
    features = word_features(text.words, vocabulary, settings.model.buckets)
    with torch.no_grad():  # embeddings begin with the log odds, which take long to learn: names are rare
        weight, odds = model.network.get_parameter("stages.embedding.table.weight"), text.log_odds(features)
        columns = min(weight.shape[1], odds.shape[1])
        weight[: len(odds), :columns] = torch.from_numpy(ODDS_SCALE * odds[:, :columns])
    return PunctuationTask(model, text, features, dev, run.device)


@dataclass(frozen=True)
class Passages:
    """Written text in arrays, so that millions of words fit into memory.

    words:   the different ones, in lower case
    ids:     (W,) int32, each word of the text
    targets: (W,) int8, mark * 4 + case, or + FIRST_CASE
    starts:  (P + 1,) where each passage begins, and the end
    """

    words: Sequence[str]
    ids: Array
    targets: Array
    starts: Ids

    def log_odds(self, features: Ids) -> Array:
        """Log odds, relative to those of all words, of each mark after and before a word or a part of a word, and of
        each case within sentences. features: of ``words``; -> (entries, 13)."""
        marks, cases = np.divmod(self.targets, 4)
        before = np.concatenate([[MARKS.index(".")], marks[:-1]])
        columns = [marks == mark for mark in range(len(MARKS))] + [before == mark for mark in range(len(MARKS))]
        columns += [cases == case for case in range(len(CASES))]
        counts = np.zeros((features.max() + 1, len(columns)))
        for column, chosen in enumerate(columns):
            by_word = np.bincount(self.ids[chosen], minlength=len(self.words))
            for feature in features.T:
                counts[:, column] += np.bincount(feature, by_word, len(counts))
        groups = np.split(counts, [len(MARKS), 2 * len(MARKS)], axis=1)
        return np.concatenate([_log_odds(group) for group in groups], axis=1)

    @cached_property
    def ends(self) -> Mask:
        """(W,) whether a sentence ends with a word."""
        return np.isin(self.targets // 4, [MARKS.index(mark) for mark in SENTENCE_ENDS])

    def vocabulary(self, min_count: int) -> Vocabulary:
        """The words that occur ``min_count`` times."""
        counts = np.bincount(self.ids, minlength=len(self.words)).tolist()
        kept = (word for word, count in zip(self.words, counts, strict=True) if count >= min_count)
        return Vocabulary.from_texts(kept, "word")


def _log_odds(counts: Array) -> Array:
    """Counts (K, C) -> ln of the share of each column in its row, relative to its share in all rows, (K, C)."""
    prior = counts.sum(0, keepdims=True) / counts.sum()
    shares = (counts + PRIOR_WORDS * prior) / (counts.sum(1, keepdims=True) + PRIOR_WORDS)
    odds: Array = np.log((shares + 1e-6) / (prior + 1e-6))
    return odds


def read_passages(path: Path) -> Passages:
    """Raises what ``read_lines`` raises."""
    numbers: dict[str, int] = {}
    ids, targets, starts = array("i"), array("b"), [0]
    for line in read_lines(path):
        for word, mark, case, begins in read_written(line):
            ids.append(numbers.setdefault(word, len(numbers)))
            first = begins and case != UPPER
            targets.append(MARKS.index(mark) * 4 + (FIRST_CASE if first else CASES.index(case)))
        if len(ids) > starts[-1]:
            starts.append(len(ids))
    return Passages(list(numbers), np.array(ids), np.array(targets), np.array(starts))


@dataclass(frozen=True)
class PassageBatch(Batch):
    """Passages of similar length: features (N, T, FEATURES) and targets (N, T)."""

    features: Padded[Tensor]
    targets: Tensor
    names: tuple[str, ...]


class PunctuationTask(Task):
    """Models are chosen by the mean F1 on dev."""

    model: PunctuationModel
    score_unit = "one less the mean F1"

    def __init__(
        self,
        model: PunctuationModel,
        text: Passages,
        features: Ids,
        dev: Sequence[Sequence[LabeledWord]],
        device: torch.device,
    ) -> None:
        """features: of the text's different words."""
        self.model, self.network, self.device = model, model.network, device
        self._text, self._features, self._dev = text, features, dev
        self._lengths = np.diff(text.starts)
        self._batches = _batches_of(np.sort(self._lengths), model.settings.text.batch_words)

    def num_batches(self, epoch: int) -> int:
        most = self.model.settings.text.epoch_batches
        return min(most, len(self._batches)) if most else len(self._batches)

    def batches(self, epoch: int, start: int) -> Iterator[PassageBatch]:
        """Passages of the same length in another order in each epoch, and the batches too."""
        seed = self.model.settings.train.seed
        rng = np.random.default_rng([seed, epoch])
        shuffled = rng.permutation(len(self._lengths))
        by_length = shuffled[np.argsort(self._lengths[shuffled], kind="stable")]
        for number in rng.permutation(len(self._batches))[start : self.num_batches(epoch)].tolist():
            first, end = self._batches[number]
            yield self._batch(by_length[first:end], np.random.default_rng([seed, epoch, number]))

    def _batch(self, passages: Ids, rng: np.random.Generator) -> PassageBatch:
        """Passages, or their beginnings."""
        starts = self._text.starts[passages]
        lengths = np.array([self._length(passage, rng) for passage in passages])
        spans = [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        features = [torch.from_numpy(self._features[self._text.ids[span]]) for span in spans]
        targets = [torch.from_numpy(self._text.targets[span].astype(np.int64)) for span in spans]
        padded = (nn.utils.rnn.pad_sequence(rows, batch_first=True) for rows in (features, targets))
        names = tuple(f"passage {number + 1}" for number in passages.tolist())
        return PassageBatch(Padded(next(padded), torch.from_numpy(lengths)), next(padded), names)

    def _length(self, passage: int, rng: np.random.Generator) -> int:
        """How many words of a passage are read: an utterance ends with a sentence, or now and then anywhere."""
        settings, length = self.model.settings.text, int(self._lengths[passage])
        chance = rng.random()
        if chance < settings.cut:
            return int(rng.integers(1, length + 1))
        start = self._text.starts[passage]
        ends = np.flatnonzero(self._text.ends[start : start + length])
        return int(rng.choice(ends)) + 1 if chance < settings.cut + settings.shorten and len(ends) else length

    def loss(self, batch: PassageBatch) -> tuple[Tensor, int]:
        x = to_device(batch.features, self.device)
        y = run_whole(self.model.network, x)
        picked = picked_log_probs(y.data, batch.targets.to(self.device))
        return -torch.where(valid_mask(y), picked, 0.0).sum(), int(batch.features.lengths.sum())

    def evaluate(self) -> Mapping[str, float]:
        scores = score_passages(run_model(self.model), self._dev[:CHOOSING])
        return {**{f"dev_{name}_f1": score.f1 for name, score in scores.items()}, "score": 1 - mean_f1(scores)}

    def result(self, progress: Progress) -> str:
        return f"on dev: {summary(score_passages(run_model(self.model), self._dev))}"


def picked_log_probs(log_probs: Tensor, targets: Tensor) -> Tensor:
    """ln P of the targets (N, T): of a mark and a case, or of a mark with either case of a sentence's first word."""
    joint = log_probs.view(*targets.shape, len(MARKS), len(CASES))
    marks, cases = targets // 4, targets % 4
    of_mark = joint.gather(2, marks[..., None, None].expand(-1, -1, 1, len(CASES)))[:, :, 0]
    either = of_mark[..., :2].logsumexp(-1, keepdim=True)  # of CASES the first two
    return torch.cat([of_mark, either], dim=-1).gather(-1, cases[..., None])[..., 0]


def _batches_of(lengths: Ids, words: int) -> list[tuple[int, int]]:
    """Ascending lengths -> the first and the end of each batch, of at most ``words`` with padding."""
    batches, first = [], 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - first) * lengths[end] > words:
            batches.append((first, end))
            first = end
    return batches
