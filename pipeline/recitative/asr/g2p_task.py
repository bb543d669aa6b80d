"""Training of letter-to-sound models (grapheme to phoneme): letters, the recurrent core, CTC over phones.

Each letter becomes ``frames_per_letter`` frames, since one letter may be several phones ("x": K S), and CTC writes none
or one in each (Rao et al. 2015 do the same with an output delay). Held-out words of the dictionary are scored: a
pronunciation is right if it is one of the dictionary's.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.asr.kind import G2P, G2PData, G2PNetworkSettings, G2PSettings
from recitative.errors import DataError, counted
from recitative.model.export import Written
from recitative.model.folder import run_model
from recitative.model.graph import CellWriter, Graph, Ragged
from recitative.model.graph_stages import Writer
from recitative.model.kind import ModelKind
from recitative.nn.heads import Embedding, ctc_loss, fits, padded_labels
from recitative.nn.ragged import to_device
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded, State
from recitative.text.tokens import Pronunciation, TokenTable, read_dictionary
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun
from recitative.train.task import Batch, Task

CHOOSING = 3000  # held-out words that score an epoch; all of them score the result


class G2PNetwork(nn.Module):
    """Stage: letter ids (N, T) -> ln P of the phones in each of a letter's frames, (N, T, frames_per_letter * V)."""

    stride, lookahead = 1, None  # the core reads in both directions

    def __init__(self, settings: G2PNetworkSettings, letters: int, phones: int) -> None:
        """letters, phones: sizes of the token tables, with blank"""
        super().__init__()
        self.frames_per_letter = settings.frames_per_letter
        self.embedding = Embedding(letters, settings.embedding)
        self.core = RecurrentStack(settings.embedding, settings.recurrent)
        self.head = nn.Linear(self.core.output_width, settings.frames_per_letter * phones)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        return {}

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        y = self(x)
        return Padded(y.data.view(*x.data.shape, self.head.out_features), x.lengths), {}

    def forward(self, letters: Padded[Tensor]) -> Padded[Tensor]:
        """The same for CTC: frame after frame, (N, frames_per_letter * T, V), float32."""
        embedded, _ = self.embedding.step(letters, {}, last=True)
        encoded, _ = self.core.step(embedded, {}, last=True)
        rows, frames = letters.data.shape
        scores = self.head(encoded.data).view(rows, frames * self.frames_per_letter, -1)
        return Padded(F.log_softmax(scores.float(), dim=-1), letters.lengths * self.frames_per_letter)


@dataclass(frozen=True)
class G2PModel:
    """A network with its token tables; ``asr.pronunciation`` runs it."""

    kind: ClassVar[ModelKind] = G2P
    settings: G2PSettings
    letters: TokenTable
    phones: TokenTable
    network: G2PNetwork


def pad_words(words: Sequence[str], letters: TokenTable) -> Padded[Tensor]:
    """Words of known letters as a padded batch of ids (N, T)."""
    rows = [torch.tensor(letters.encode(word), dtype=torch.int64) for word in words]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return Padded(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


def new_g2p(settings: G2PSettings, letters: TokenTable, phones: TokenTable) -> G2PModel:
    """A model with random weights (from torch's generator)."""
    return G2PModel(settings, letters, phones, G2PNetwork(settings.model, len(letters), len(phones)))


def write_g2p(model: G2PModel) -> Written:
    """Graph: tokens (N, T) int64 of letters, lengths (N,) int64 -> log_probs, the output of the stage."""
    network, phones = model.network, len(model.phones)
    graph = Graph()
    cells = CellWriter(graph, inputs=None)
    writer = Writer(graph, cells, last="")
    x = Ragged(graph.input("tokens", "int64", ("N", "T")), graph.input("lengths", "int64", ("N",)))
    x = writer.write("core", network.core, writer.write("embedding", network.embedding, x))
    scores = cells.linear("head", network.head, x.data)
    by_frame = graph.op("Reshape", scores, graph.ints(0, 0, network.frames_per_letter, phones))
    flat = graph.op("Reshape", graph.op("LogSoftmax", by_frame, axis=-1), graph.ints(0, 0, -1))
    graph.output("log_probs", flat, "float32", ("N", "T", network.head.out_features))
    return Written(graph, writer.initial, lookahead=None)


def prepare(settings: G2PSettings, data: G2PData, run: TrainingRun) -> G2PTask:
    """The task of a run; see ``train.run``. Each word's first pronunciation is learned.

    Raises DataError for a dictionary of too few words.
    """
    dictionary = read_dictionary(data.train, data.lower, data.keep_stress)
    words = sorted(dictionary.entries)
    is_held_out = {word: zlib.crc32(word.encode("utf-8")) % settings.held_out == 0 for word in words}  # by checksum
    train, held_out = [w for w in words if not is_held_out[w]], [w for w in words if is_held_out[w]]
    if not train or not held_out:
        found = f"has {counted(len(dictionary), 'word')}"
        raise DataError(str(data.train), found, "enough to hold some out", "give a larger one, such as CMU's")
    letters = TokenTable.from_texts(dictionary.entries)
    phones = TokenTable.from_texts([" ".join(dictionary.symbols)], "phone")
    run.start(settings)
    model = new_g2p(settings, letters, phones)
    labels = {word: [phones.ids[symbol] for symbol in dictionary.entries[word][0]] for word in train}
    usable = [word for word in train if fits(labels[word], settings.model.frames_per_letter * len(word))]
    if left_out := len(train) - len(usable):
        run.warn(f"{data.train}: left out: {counted(left_out, 'word')} with too many phones for the letters")
    scored = {word: dictionary.entries[word] for word in held_out}
    return G2PTask(model, {word: labels[word] for word in usable}, scored, run.device)


def word_error_rate(model: G2PModel, entries: Mapping[str, Sequence[Pronunciation]]) -> float:
    """The fraction of words with a wrong pronunciation by the model, which is put into evaluation mode."""
    model.network.eval()
    said = run_model(model).pronounce(entries)
    return sum(said.get(word) not in ways for word, ways in entries.items()) / len(entries)


@dataclass(frozen=True)
class WordBatch(Batch):
    """Some words and their phones."""

    letters: Padded[Tensor]
    labels: Padded[Tensor]
    names: tuple[str, ...]


class G2PTask(Task):
    """Models are chosen by the word error rate of the first held-out words."""

    model: G2PModel

    def __init__(
        self,
        model: G2PModel,
        labels: Mapping[str, Sequence[int]],
        held_out: Mapping[str, Sequence[Pronunciation]],
        device: torch.device,
    ) -> None:
        self.model, self.network, self.device = model, model.network, device
        self._labels = labels
        self._words = sorted(labels, key=lambda word: (len(word), word))
        chosen = sorted(held_out, key=lambda word: zlib.crc32(word.encode("utf-8")))[:CHOOSING]
        self._held_out = {word: held_out[word] for word in chosen}
        self._scored = held_out

    def num_batches(self, epoch: int) -> int:
        return -(-len(self._words) // self.model.settings.batch_words)

    def batches(self, epoch: int, start: int) -> Iterator[WordBatch]:
        """Words of about the same length together, in another order in each epoch."""
        settings = self.model.settings
        rng = np.random.default_rng([settings.train.seed, epoch])
        lengths = np.array([len(word) for word in self._words])
        order = np.argsort(lengths + rng.uniform(0, 2, len(lengths)), kind="stable")
        size = settings.batch_words
        for first in rng.permutation(self.num_batches(epoch))[start:].tolist():
            words = tuple(self._words[i] for i in order[first * size : (first + 1) * size].tolist())
            labels = padded_labels([self._labels[word] for word in words])
            yield WordBatch(pad_words(words, self.model.letters), labels, words)

    def loss(self, batch: WordBatch) -> tuple[Tensor, int]:
        letters, labels = (to_device(x, self.device) for x in (batch.letters, batch.labels))
        return ctc_loss(self.model.network(letters), labels, batch.names)

    def evaluate(self) -> Mapping[str, float]:
        rate = word_error_rate(self.model, self._held_out)
        return {"dev_wer": rate, "score": rate}

    def result(self, progress: Progress) -> str:
        rate = word_error_rate(self.model, self._scored)
        return f"of {len(self._scored)} words held out {rate:.2%} are wrong"
