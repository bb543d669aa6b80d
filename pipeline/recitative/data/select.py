"""Data directories from others: subsets, splits, folds, copies, unions. Functions of values; nothing is written.

The equivalents of Kaldi's subset_data_dir.sh, combine_data.sh, split_data.sh and copy_data_dir.sh, but unknown ids and
ids in two directories are errors.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from recitative.audio.files import inspect
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.tables import TABLES, read_table
from recitative.errors import DataError, Problem, UsageError, counted, raise_all


def first(directory: DataDirectory, count: int) -> DataDirectory:
    """The first utterances in the order of their ids."""
    return directory.with_utterances(directory.utterances[: _within(count, directory)])


def last(directory: DataDirectory, count: int) -> DataDirectory:
    """The last utterances in the order of their ids."""
    return directory.with_utterances(directory.utterances[-_within(count, directory) :])


def shortest(directory: DataDirectory, count: int) -> DataDirectory:
    """The shortest utterances; equal ones in the order of their ids. Reads audio headers if needed."""
    lengths = durations_s(directory)
    ordered = sorted(directory.utterances, key=lambda u: (lengths[u.utt_id], u.utt_id))
    return directory.with_utterances(ordered[: _within(count, directory)])


def drawn(directory: DataDirectory, count: int, seed: int) -> DataDirectory:
    """Utterances drawn at random without replacement; equal seeds give equal results."""
    chosen = random.Random(seed).sample(directory.utterances, _within(count, directory))
    return directory.with_utterances(chosen)


def per_speaker(directory: DataDirectory, count: int) -> DataDirectory:
    """The first ``count`` utterances of every speaker, or all if there are fewer."""
    _positive(count)
    return directory.with_utterances(u for own in directory.by_speaker.values() for u in own[:count])


def only_speakers(directory: DataDirectory, speakers: Collection[str]) -> DataDirectory:
    """All utterances of these speakers."""
    _known("speaker", speakers, directory.by_speaker)
    return directory.where(lambda u: u.speaker in set(speakers))


def only_utterances(directory: DataDirectory, utt_ids: Collection[str]) -> DataDirectory:
    """These utterances."""
    chosen = set(utt_ids)
    _known("utterance", chosen, directory.utt2spk)
    return directory.where(lambda u: u.utt_id in chosen)


def without_utterances(directory: DataDirectory, utt_ids: Collection[str]) -> DataDirectory:
    """All but these utterances."""
    excluded = set(utt_ids)
    _known("utterance", excluded, directory.utt2spk)
    return directory.where(lambda u: u.utt_id not in excluded)


def hold_out(directory: DataDirectory, speakers: Collection[str]) -> tuple[DataDirectory, DataDirectory]:
    """(all other speakers, these speakers): a dev set of unseen speakers."""
    held = only_speakers(directory, speakers)
    rest = directory.where(lambda u: u.speaker not in set(speakers))
    if not rest.utterances:
        raise UsageError(
            f"all {counted(len(directory.by_speaker), 'speaker')} would be held out; leave some for training"
        )
    return rest, held


def drawn_speakers(directory: DataDirectory, count: int, seed: int) -> list[str]:
    """Speakers drawn at random without replacement, sorted; equal seeds give equal results."""
    speakers = list(directory.by_speaker)
    if not 1 <= count <= len(speakers):
        raise UsageError(
            f"{counted(count, 'speaker')} asked for; the data has {len(speakers)}; ask for 1 to {len(speakers)}"
        )
    return sorted(random.Random(seed).sample(speakers, count))


def split(directory: DataDirectory, parts: int) -> list[DataDirectory]:
    """Parts with about equally many utterances; all utterances of a speaker are in the same part.

    Speakers are assigned in order of decreasing size, each to the smallest part: the largest part is at most a third
    larger than the best possible one (Graham 1969).
    """
    if not 1 <= parts <= len(directory.by_speaker):
        raise UsageError(
            f"{counted(parts, 'part')} asked for; "
            f"the data has {counted(len(directory.by_speaker), 'speaker')}, who are not divided; "
            "ask for fewer, or split by utterance with --per-utt"
        )
    groups: list[list[Utterance]] = [[] for _ in range(parts)]
    for _, own in sorted(directory.by_speaker.items(), key=lambda item: (-len(item[1]), item[0])):
        min(groups, key=len).extend(own)
    return [directory.with_utterances(group) for group in groups]


def split_by_utterance(directory: DataDirectory, parts: int) -> list[DataDirectory]:
    """Parts of consecutive utterances whose numbers differ by at most one."""
    total = len(directory.utterances)
    if not 1 <= parts <= total:
        raise UsageError(
            f"{counted(parts, 'part')} asked for; the data has {counted(total, 'utterance')}; ask for 1 to {total}"
        )
    cuts = [total * part // parts for part in range(parts + 1)]
    return [directory.with_utterances(directory.utterances[a:b]) for a, b in pairwise(cuts)]


def prefixed(directory: DataDirectory, prefix: str) -> DataDirectory:
    """A copy with ``prefix`` before every utterance, speaker and recording id, so that it can be combined."""
    utterances = [
        replace(
            u,
            utt_id=prefix + u.utt_id,
            speaker=prefix + u.speaker,
            recording_id=prefix + u.recording_id if u.recording_id else "",
        )
        for u in directory.utterances
    ]
    extras = {name: {prefix + key: value for key, value in table.items()} for name, table in directory.extras.items()}
    return DataDirectory(tuple(utterances), extras)


def combine(directories: Mapping[str, DataDirectory]) -> tuple[DataDirectory, list[str]]:
    """The union of directories, given by name, and the names of the optional tables that not all of them have.

    Those tables are left out. If some directories have segments, whole recordings become segments of full length.
    Raises DataError for an utterance in two of them, a recording id with two paths, and transcripts in only some.
    """
    _require_no_clash(directories)
    if any(u.is_segment for directory in directories.values() for u in directory.utterances):
        directories = {name: _with_segments(directory) for name, directory in directories.items()}
    names = set().union(*(directory.extras for directory in directories.values()))
    common = {name for name in names if all(name in directory.extras for directory in directories.values())}
    extras = {name: _merged(name, directories) for name in TABLES if name in common}
    utterances = [u for directory in directories.values() for u in directory.utterances]
    return DataDirectory(tuple(sorted(utterances, key=lambda u: u.utt_id)), extras), sorted(names - common)


def durations_s(directory: DataDirectory) -> dict[str, float]:
    """utt_id -> seconds, from the segment, else utt2dur, else the recording's header."""
    stated = directory.extras.get("utt2dur", {})
    return {u.utt_id: _duration_s(u, stated) for u in directory.utterances}


def _duration_s(utterance: Utterance, stated: Mapping[str, str]) -> float:
    if utterance.end_s is not None:
        return utterance.end_s - utterance.start_s
    if utterance.utt_id in stated:
        return float(stated[utterance.utt_id])
    return inspect(utterance.recording_path).duration_s - utterance.start_s


def _with_segments(directory: DataDirectory) -> DataDirectory:
    utterances = [
        u if u.is_segment else replace(u, end_s=_duration_s(u, {}), recording_id=u.utt_id) for u in directory.utterances
    ]
    return DataDirectory(tuple(utterances), directory.extras)


def _require_no_clash(directories: Mapping[str, DataDirectory]) -> None:
    owner: dict[str, str] = {}
    paths: dict[str, tuple[str, str]] = {}
    transcribed = {name for name, directory in directories.items() if directory.texts}
    for name, directory in directories.items():
        if transcribed and name not in transcribed:
            raise DataError(name, f"has no text, {min(transcribed)} has", "transcripts in all or none", "add them")
        for u in directory.utterances:
            if owner.setdefault(u.utt_id, name) != name:
                found = f"utterance '{u.utt_id}' is in {owner[u.utt_id]} too"
                raise DataError(name, found, "unique ids", "copy one with 'recitative data copy --prefix' first")
            recording = u.recording_id or u.utt_id
            other, path = paths.setdefault(recording, (name, u.recording_path))
            if path != u.recording_path:
                found = f"recording '{recording}' is {u.recording_path}, in {other} it is {path}"
                raise DataError(name, found, "one path per id", "copy one with 'recitative data copy --prefix' first")


def _merged(table: str, directories: Mapping[str, DataDirectory]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for name, directory in directories.items():
        for key, value in directory.extras[table].items():
            if merged.setdefault(key, value) != value:
                found = f"{TABLES[table]} '{key}' is '{value}', in another directory '{merged[key]}'"
                raise DataError(f"{name}/{table}", found, "the same everywhere", "correct one of them")
    return merged


def _known(kind: str, chosen: Collection[str], known: Collection[str]) -> None:
    for one in sorted(set(chosen) - set(known)):
        nearest = difflib.get_close_matches(one, known, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"there are {len(known)}, such as '{min(known)}'"
        raise UsageError(f"unknown {kind} '{one}'; {hint}")


def _within(count: int, directory: DataDirectory) -> int:
    total = len(directory.utterances)
    if _positive(count) > total:
        raise UsageError(f"{counted(count, 'utterance')} asked for; the data has {total}; ask for at most that many")
    return count


def _positive(count: int) -> int:
    if count < 1:
        raise UsageError(f"{counted(count, 'utterance')} asked for; ask for at least 1")
    return count


# Cross-validation: each part is the test set of a model that is trained on the others.


@dataclass(frozen=True)
class Fold:
    """One part of a cross-validation: the utterances to test on, and the others, to train on."""

    name: str
    train: DataDirectory
    test: DataDirectory


def leave_one_speaker_out(data: DataDirectory) -> list[Fold]:
    """A fold for each speaker, with its name. Raises DataError for a single speaker or a recording of several."""
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
    raise_all(problems)
    return folds_by(data, {utterance.utt_id: table[utterance.utt_id] for utterance in data.utterances})


def folds_by(data: DataDirectory, fold_of: Mapping[str, str]) -> list[Fold]:
    """A fold for each name, in the order of the names; ``fold_of``: utt_id -> name.

    Raises one DataError for a single fold, and for every speaker and recording that a fold trains and tests on.
    """
    names = sorted(set(fold_of.values()))
    if len(names) < 2:
        raise DataError("folds", f"there is one, '{names[0]}'", "two or more", "divide the data further")
    folds = [_fold(data, fold_of, name) for name in names]
    raise_all([problem for fold in folds for problem in _shared(fold)])
    return folds


def _fold(data: DataDirectory, fold_of: Mapping[str, str], name: str) -> Fold:
    train = data.where(lambda utterance: fold_of[utterance.utt_id] != name)
    return Fold(name, train, data.where(lambda utterance: fold_of[utterance.utt_id] == name))


def _shared(fold: Fold) -> list[Problem]:
    """The speakers and recordings that are in both parts: such a fold would test on a known voice or recording."""
    kinds: dict[str, Callable[[Utterance], str]] = {
        "speaker": lambda utterance: utterance.speaker,
        "recording": lambda utterance: utterance.recording_id or utterance.recording_path,
    }
    problems = []
    for kind, of in kinds.items():
        trained = {of(utterance) for utterance in fold.train.utterances}
        both = sorted({of(utterance) for utterance in fold.test.utterances} & trained)
        found, remedy = f"trains and tests on {kind}", "give all its utterances the same fold"
        problems += [Problem(f"fold '{fold.name}'", f"{found} '{one}'", "one of the two", remedy) for one in both]
    return problems
