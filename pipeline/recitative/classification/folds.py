"""Cross-validation: a data directory in parts, each of which is the test set of a model trained on the others.

A voice or a recording that is in both parts of a fold would be known already when it is tested: such a fold is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recitative.data.directory import DataDirectory
from recitative.data.select import split
from recitative.data.tables import Utterance, read_table
from recitative.errors import DataError, Problem


@dataclass(frozen=True)
class Fold:
    """One part to test on, the others to train on."""

    name: str
    train: DataDirectory
    test: DataDirectory


def leave_one_speaker_out(data: DataDirectory) -> list[Fold]:
    """A fold for each speaker, named by him. Raises DataError for a single speaker or a recording of several."""
    return folds_by(data, {utterance.utt_id: utterance.speaker for utterance in data.utterances})


def folds_by_speaker(data: DataDirectory, count: int) -> list[Fold]:
    """So many folds with about equally many utterances, no speaker in two of them, named from '1'.

    Raises UsageError for more folds than speakers, DataError for a single fold or a recording in two of them.
    """
    parts = enumerate(split(data, count), start=1)
    return folds_by(data, {u.utt_id: str(number) for number, part in parts for u in part.utterances})


def read_folds(data: DataDirectory, path: Path) -> list[Fold]:
    """The folds of a table of 'utterance fold' lines; other utterances in it do not matter.

    Raises DataError for an utterance without a fold, and for what ``folds_by`` refuses.
    """
    table = {row.key: row.value for row in read_table(path)}
    problems = [
        Problem(str(path), f"has no fold for utterance '{utterance.utt_id}'", "one for each", "add its line")
        for utterance in data.utterances
        if not table.get(utterance.utt_id)
    ]
    if problems:
        raise DataError.collect(problems)
    return folds_by(data, {utterance.utt_id: table[utterance.utt_id] for utterance in data.utterances})


def folds_by(data: DataDirectory, fold_of: Mapping[str, str]) -> list[Fold]:
    """A fold for each name, in the order of the names; ``fold_of``: utt_id -> name.

    Raises one DataError for a single fold, and for every speaker and recording that a fold trains and tests on.
    """
    names = sorted(set(fold_of.values()))
    if len(names) < 2:
        raise DataError("folds", f"there is one, '{names[0]}'", "two or more", "divide the data further")
    folds = [_fold(data, fold_of, name) for name in names]
    if problems := [problem for fold in folds for problem in shared(fold)]:
        raise DataError.collect(problems)
    return folds


def shared(fold: Fold) -> list[Problem]:
    """What a fold has in both of its parts."""
    kinds: dict[str, Callable[[Utterance], str]] = {"speaker": lambda u: u.speaker, "recording": _recording}
    problems = []
    for kind, of in kinds.items():
        known = {of(utterance) for utterance in fold.train.utterances}
        both = sorted({of(utterance) for utterance in fold.test.utterances} & known)
        problems += [
            Problem(f"fold '{fold.name}'", f"trains and tests on {kind} '{one}'", "one of the two", "give all its "
                    "utterances the same fold")
            for one in both
        ]  # fmt: skip
    return problems


def _recording(utterance: Utterance) -> str:
    return utterance.recording_id or utterance.recording_path


def _fold(data: DataDirectory, fold_of: Mapping[str, str], name: str) -> Fold:
    train = data.where(lambda utterance: fold_of[utterance.utt_id] != name)
    return Fold(name, train, data.where(lambda utterance: fold_of[utterance.utt_id] == name))
