"""Decoded sets and the experiment that they belong to, read from its folder.

Its files are those of ``report.experiment`` and these, each of which may be absent:

decode_<set>/text         hypotheses, Kaldi text
decode_<set>/tokens.jsonl {"utt_id", "tokens": [{"token", "start_s"}], ...}, times from the utterance's start
decode_<set>/words.jsonl  {"utt_id", "words": [...]}, with times and confidences
decode_<set>/data_dir     one line: the data directory that was decoded
decode_<set>/model        one line: the model that decoded it; without it, model or model.onnx of the experiment
decode_<set>/score/       the files of 'recitative score'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recitative.data.directory import DataDirectory, Utterance
from recitative.data.tables import read_table
from recitative.errors import DataError, UsageError
from recitative.report.experiment import Training, json_lines, read_json_object, read_training, text_of
from recitative.score.calibration import hypothesis_correct, read_timed_words
from recitative.score.wer import ErrorRates, characters, read_utterances, score
from recitative.stage import Array
from recitative.text.tokens import SPACE, Word


@dataclass(frozen=True)
class Token:
    token: str  # one character
    start_s: float  # from the start of the utterance


@dataclass(frozen=True)
class DecodedSet:
    """A decoded set. ``utterances`` is empty if the data directory cannot be read, ``tokens`` and ``timed`` without
    times."""

    name: str
    words: ErrorRates
    characters: ErrorRates
    tokens: Mapping[str, tuple[Token, ...]]
    timed: Mapping[str, Sequence[Word]]
    utterances: Mapping[str, Utterance]
    real_time: float = math.nan  # seconds of audio decoded per second
    model: str = ""  # the name or path of the model; '' = unknown

    def confidences(self) -> tuple[Array, Array]:
        """(N,) confidences of all recognized words, and whether each is correct; empty without words.jsonl."""
        found: list[tuple[float, bool]] = []
        for utt_id, alignment in self.words.alignments.items():
            words, correct = self.timed.get(utt_id, ()), hypothesis_correct(alignment)
            if len(words) == len(correct):
                found += zip((word.confidence for word in words), correct, strict=True)
        table = np.array(found).reshape(-1, 2)
        return table[:, 0], table[:, 1].astype(bool)

    def worst_first(self) -> list[str]:
        """utt_ids: most errors first, then the higher rate, then by id."""
        counts = self.words.by_utterance
        return sorted(counts, key=lambda utt_id: (-counts[utt_id].errors, -counts[utt_id].rate, utt_id))


@dataclass(frozen=True)
class Experiment:
    training: Training
    sets: tuple[DecodedSet, ...]
    missing: tuple[str, ...] = ()  # absent or unreadable files, one line each


def read_experiment(path: Path) -> Experiment:
    """Read the files that are there and list those that are not. A folder ``decode_<set>`` is an experiment of one set.

    Raises UsageError if ``path`` is no folder, DataError if it holds nothing to report or if a file is damaged.
    """
    if not path.is_dir():
        raise UsageError(f"{path}: is not a folder; give the experiment folder, for example exp/blstm")
    if path.name.startswith("decode_"):
        remarks: list[str] = []
        decoded = _read_set(path, remarks)
        return Experiment(Training(path), (decoded,) if decoded else (), tuple(remarks))
    folders = sorted(folder for folder in path.glob("decode_*") if folder.is_dir())
    if not folders and not (path / "train.jsonl").exists():
        raise DataError(
            str(path),
            "holds neither train.jsonl nor decode_*",
            "",
            "train or decode into it first; a classifier needs its data, too",
        )
    run = read_training(path)
    missing = list(run.missing)
    sets = tuple(one for folder in folders if (one := _read_set(folder, missing)))
    if not folders and run.kind in ("", "recognizer"):
        missing.append("no decode_<set> folder yet: error rates, confusions and utterances come with the first one")
    return Experiment(run, sets, tuple(missing))


def _read_set(folder: Path, missing: list[str]) -> DecodedSet | None:
    data = _read_data(folder, missing)
    texts = _read_texts(folder, data, missing)
    if texts is None:
        return None
    refs, hyps = texts
    speakers = data.utt2spk if data else None
    summary = read_json_object(folder / "summary.json")
    timed = summary.get("audio_s") and summary.get("seconds")
    tokens = dict(_tokens(where, line) for where, line in json_lines(folder / "tokens.jsonl", missing))
    words = folder / "words.jsonl"
    missing += [
        f"{folder.name}/{name} is not there: {lost}"
        for name, lost in (
            ("tokens.jsonl", "no token times in the pictures"), ("words.jsonl", "no confidences, no times of words"),
        ) if not (folder / name).exists()
    ]  # fmt: skip
    beside = (str(path) for name in ("model", "model.onnx") if (path := folder.parent / name).exists())
    return DecodedSet(
        folder.name.removeprefix("decode_"),
        score(refs, hyps, speakers, where=f"{folder}/text"),
        score(refs, hyps, speakers, symbols=characters, where=f"{folder}/text"),
        tokens,
        read_timed_words(words) if words.exists() else {},
        {utterance.utt_id: utterance for utterance in data.utterances} if data else {},
        summary["audio_s"] / summary["seconds"] if timed else math.nan,
        text_of(folder / "model").strip() or next(beside, ""),
    )


def _read_data(folder: Path, missing: list[str]) -> DataDirectory | None:
    if not (folder / "data_dir").exists():
        missing.append(f"{folder.name}/data_dir is not there: no audio, no pictures, no speakers")
        return None
    try:
        return DataDirectory.read(Path(text_of(folder / "data_dir").strip()))
    except DataError as error:  # the data may have moved; the rest of the report is still useful
        missing.append(f"{folder.name}: the data cannot be read from here, so no audio or pictures ({error})")
        return None


def _read_texts(
    folder: Path, data: DataDirectory | None, missing: list[str]
) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
    """References and hypotheses, from the data and ``text``, or from the alignments of an earlier scoring."""
    if data and data.texts and (folder / "text").exists():
        return data.texts, {row.key: row.value for row in read_table(folder / "text")}
    if (folder / "score" / "per_utt").exists():
        return read_utterances(folder / "score" / "per_utt")
    missing.append(f"{folder.name}: no references beside its text, so nothing can be counted; run 'recitative score'")
    return None


def _tokens(where: str, line: Mapping[str, Any]) -> tuple[str, tuple[Token, ...]]:
    """utt_id and its tokens; the space may be written as in token tables."""
    try:
        pairs = [(" " if pair["token"] == SPACE else str(pair["token"]), pair["start_s"]) for pair in line["tokens"]]
        return line["utt_id"], tuple(Token(token, float(start_s)) for token, start_s in pairs)
    except (KeyError, TypeError, ValueError):
        raise DataError(where, "is not a row of tokens", "utt_id and tokens with start_s", "decode again") from None
