"""Train a language model from the texts of data directories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recitative.atomic import update_text
from recitative.config import dump_settings, load_tree
from recitative.data.directory import read_transcripts, require_ids, table_of
from recitative.data.tables import words_of
from recitative.errors import DataError, UsageError
from recitative.lm.data import TextStreams
from recitative.lm.network import new_language_model
from recitative.lm.settings import LanguageModelSettings
from recitative.lm.stream_network import new_scorer
from recitative.lm.task import LanguageModelTask, text_scores
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.text.tokens import TokenTable
from recitative.text.vocabulary import Vocabulary
from recitative.train.checkpoint import Checkpoints, Progress
from recitative.train.distributed import lone_device
from recitative.train.experiment import digest, holds_settings, load_best
from recitative.train.log import Console
from recitative.train.loop import fit


@dataclass(frozen=True)
class TrainedLanguageModel:
    """What came of a run: the model of its best epoch, in ``folder``."""

    folder: Path
    progress: Progress
    perplexity: float  # of dev, per word, sentence ends included
    unknown: Counter[str]  # words, or characters, of dev that the vocabulary lacks


def read_texts(paths: Sequence[Path]) -> list[str]:
    """The transcripts of text tables, data directories or shards. Raises DataError for texts without a word."""
    for path in paths:
        require_ids(path, "name a data directory, or a table of 'utterance words...' lines")
    texts = [words_of(row.value) for path in paths for row in read_transcripts(path)]
    if not any(texts):
        raise DataError(str(table_of(paths[0])), "has no words", "at least one", "add the transcripts")
    return texts


@writes("folder")
def train_language_model(
    settings: LanguageModelSettings, train: Sequence[Path], dev: Path, folder: Path, *, quiet: bool = False
) -> TrainedLanguageModel:
    """Train into ``folder``, or go on where a run with the same settings stopped; write ``folder/model``.

    Raises UsageError if the folder holds a run with other settings or other text, and what reading and the loop raise.
    """
    device = lone_device(settings.train, "lm train-recurrent: the streams of a text are one worker's")
    texts, dev_texts = read_texts(train), read_texts([dev])
    vocabulary = Vocabulary.from_texts(texts, settings.text.unit, settings.text.min_count)
    mark = _claim(folder, settings, vocabulary)
    torch.manual_seed(settings.train.seed)
    model = new_language_model(settings, vocabulary)
    sentences = [vocabulary.encode(text) for text in texts]
    streams = TextStreams(sentences, streams=settings.text.streams, bptt=settings.text.bptt, seed=settings.train.seed)
    task = LanguageModelTask(model, streams, dev_texts, device)
    progress = fit(task, settings.train, folder, device=device, console=Console(quiet=quiet), digest=mark)
    load_best(task.network, folder, progress)
    save_model(model, folder / "model")
    perplexity = text_scores(new_scorer(model), dev_texts)["dev_perplexity"]
    return TrainedLanguageModel(folder / "model", progress, perplexity, vocabulary.count_unknown(dev_texts))


def _claim(folder: Path, settings: LanguageModelSettings, vocabulary: Vocabulary) -> str:
    """Write the run's settings and vocabulary, or check that those of an earlier start are the same; their digest."""
    settings_path, tokens_path = folder / "settings.yaml", folder / "tokens.txt"
    if holds_settings(folder) and tokens_path.exists():
        same_settings = load_tree(LanguageModelSettings, settings_path) == settings
        if not same_settings or TokenTable.read(tokens_path) != vocabulary.table:
            other = f"text ({tokens_path})" if same_settings else f"settings ({settings_path})"
            raise UsageError(f"{folder}: holds a run with other {other}; train into another folder, or remove this one")
    mark = digest(settings, vocabulary.table.to_text())
    Checkpoints(folder, mark).progress()  # it is refused before anything is written
    update_text(settings_path, dump_settings(settings))
    update_text(tokens_path, vocabulary.table.to_text())
    return mark
