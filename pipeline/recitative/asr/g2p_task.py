"""Train a letter-to-sound model on a pronunciation dictionary.

Words that are held out are scored: a word is right if the model's pronunciation is one of the dictionary's.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recitative.asr.g2p_kind import G2PData, G2PSettings
from recitative.asr.g2p_network import G2PModel, new_g2p, pad_words
from recitative.errors import DataError
from recitative.model.torch_stage import run_model
from recitative.nn.ctc_loss import ctc_loss, fits, padded_labels
from recitative.stage import Padded
from recitative.text.lexicon import Lexicon, Pronunciation, read_dictionary
from recitative.text.tokens import TokenTable
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun
from recitative.train.task import Batch, Task

CHOOSING = 3000  # held-out words that score an epoch; all of them score the result


def prepare(settings: G2PSettings, data: G2PData, run: TrainingRun) -> G2PTask:
    """The task of a run; see ``train.run``. Each word's first pronunciation is learned.

    Raises DataError for a dictionary of too few words.
    """
    dictionary = read_dictionary(data.train, data.lower, data.keep_stress)
    train, held_out = _divide(dictionary, settings.held_out)
    if not train or not held_out:
        found = f"has {len(dictionary)} words"
        raise DataError(str(data.train), found, "enough to hold some out", "give a larger one, such as CMU's")
    letters = TokenTable.from_texts(dictionary.entries)
    phones = TokenTable.from_texts([" ".join(dictionary.symbols)], "phone")
    run.start(settings)
    model = new_g2p(settings, letters, phones)
    labels = {word: [phones.ids[symbol] for symbol in dictionary.entries[word][0]] for word in train}
    usable = [word for word in train if fits(labels[word], settings.model.frames_per_letter * len(word))]
    if left_out := len(train) - len(usable):
        run.warn(f"{data.train}: {left_out} words have too many phones for their letters and are left out")
    scored = {word: dictionary.entries[word] for word in held_out}
    return G2PTask(model, {word: labels[word] for word in usable}, scored, run.device)


def word_error_rate(model: G2PModel, entries: Mapping[str, Sequence[Pronunciation]]) -> float:
    """The part of these words whose pronunciation by the model is none of theirs. Puts the network into evaluation
    mode."""
    model.network.eval()
    said = run_model(model).pronounce(entries)
    return sum(said.get(word) not in ways for word, ways in entries.items()) / len(entries)


def _divide(dictionary: Lexicon, held_out: int) -> tuple[list[str], list[str]]:
    """Words to train on, and one of ``held_out`` by their checksums: the same ones in every edition."""
    words = sorted(dictionary.entries)
    chosen = {word for word in words if zlib.crc32(word.encode("utf-8")) % held_out == 0}
    return [word for word in words if word not in chosen], sorted(chosen)


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
            yield self._batch([self._words[i] for i in order[first * size : (first + 1) * size].tolist()])

    def _batch(self, words: Sequence[str]) -> WordBatch:
        labels = padded_labels([self._labels[word] for word in words])
        return WordBatch(pad_words(words, self.model.letters), labels, tuple(words))

    def loss(self, batch: WordBatch) -> tuple[Tensor, int]:
        letters = Padded(batch.letters.data.to(self.device), batch.letters.lengths.to(self.device))
        labels = Padded(batch.labels.data.to(self.device), batch.labels.lengths.to(self.device))
        return ctc_loss(self.model.network(letters), labels, batch.names)

    def evaluate(self) -> Mapping[str, float]:
        rate = word_error_rate(self.model, self._held_out)
        return {"dev_wer": rate, "score": rate}

    def result(self, progress: Progress) -> str:
        rate = word_error_rate(self.model, self._scored)
        return f"of {len(self._scored)} words held out {rate:.2%} are wrong"
