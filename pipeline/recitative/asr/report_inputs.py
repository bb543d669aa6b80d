"""The files of an experiment folder that its report shows. Each of them may be absent while training runs.

train.jsonl               {"event": "step", ...} and {"event": "epoch", ...} lines, as in Step and Epoch below
settings.yaml             the resolved settings
environment.json          names and values of any kind
decode_<set>/text         hypotheses, Kaldi text
decode_<set>/tokens.jsonl {"utt_id", "tokens": [{"token", "start_s"}], ...}, times from the utterance's start
decode_<set>/data_dir     one line: the data directory that was decoded
decode_<set>/score/       the files of 'recitative score'
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recitative.data.directory import DataDirectory, Utterance
from recitative.data.tables import read_table
from recitative.errors import DataError, UsageError
from recitative.reading import checked, parsed_json, parsed_yaml, read_text
from recitative.score.wer import ErrorRates, characters, read_utterances, score
from recitative.text.tokens import SPACE


@dataclass(frozen=True)
class Step:
    """One optimizer step; NaN where a number was not finite or not written."""

    step: int
    epoch: int
    loss: float = math.nan  # per label
    lr: float = math.nan
    grad_norm: float = math.nan  # before clipping
    clipped: bool = False
    skipped: bool = False  # loss or gradient was NaN or inf; no update
    audio_s: float = 0.0


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data, and the scores on the dev set after it."""

    epoch: int
    step: int
    train_loss: float = math.nan
    dev_loss: float = math.nan
    dev_wer: float = math.nan  # 0..1
    dev_cer: float = math.nan
    dev_per: float = math.nan  # of phones, in place of both
    seconds: float = math.nan  # wall clock since the run began
    best: bool = False


@dataclass(frozen=True)
class Token:
    token: str  # one character
    start_s: float  # from the start of the utterance


@dataclass(frozen=True)
class DecodedSet:
    """A decoded set. ``utterances`` is empty if the data directory cannot be read, ``tokens`` if there are no times."""

    name: str
    words: ErrorRates
    characters: ErrorRates
    tokens: Mapping[str, tuple[Token, ...]]
    utterances: Mapping[str, Utterance]
    real_time: float = math.nan  # seconds of audio decoded per second


@dataclass(frozen=True)
class Experiment:
    path: Path
    steps: tuple[Step, ...]
    epochs: tuple[Epoch, ...]
    settings: str  # YAML; empty if absent
    clip_norm: float | None  # train.clip_norm of the settings
    environment: Mapping[str, Any]
    sets: tuple[DecodedSet, ...]
    missing: tuple[str, ...] = field(default=())  # what is absent or unreadable, one line each


def read_experiment(path: Path) -> Experiment:
    """Read the files that are there and list those that are not.

    Raises UsageError if ``path`` is no folder, DataError if it holds nothing to report or if a file is damaged.
    """
    if not path.is_dir():
        raise UsageError(f"{path}: is not a folder; give the experiment folder, for example exp/blstm")
    folders = sorted(folder for folder in path.glob("decode_*") if folder.is_dir())
    if not folders and not (path / "train.jsonl").exists():
        raise DataError(str(path), "holds neither train.jsonl nor decode_*", "", "train or decode into it first")
    missing = [f"{name} is not there" for name in _EXPECTED if not (path / name).exists()]
    steps, epochs, remarks = _read_log(path / "train.jsonl")
    missing += remarks
    sets = [decoded for folder in folders if (decoded := _read_set(folder, missing))]
    if not folders:
        missing.append("no decode_<set> folder yet: error rates, confusions and utterances come with the first one")
    settings, clip_norm = _read_settings(path / "settings.yaml")
    environment = _read_json(path / "environment.json")
    return Experiment(path, steps, epochs, settings, clip_norm, environment, tuple(sets), tuple(missing))


_EXPECTED = ("train.jsonl", "settings.yaml", "environment.json")


def _read_log(path: Path) -> tuple[tuple[Step, ...], tuple[Epoch, ...], list[str]]:
    """Steps and epochs in order. Of a step that was repeated after an interruption, the last run counts."""
    steps: dict[int, Step] = {}
    epochs: dict[int, Epoch] = {}
    remarks: list[str] = []
    for where, line in _json_lines(path, remarks):
        if line.get("event") == "step":
            step = checked(Step, _fields_of(Step, line, where), where, "a step of training", "remove the line")
            steps[step.step] = step
        elif line.get("event") == "epoch":
            epoch = checked(Epoch, _fields_of(Epoch, line, where), where, "an epoch of training", "remove the line")
            epochs[epoch.epoch] = epoch
    return tuple(steps[n] for n in sorted(steps)), tuple(epochs[n] for n in sorted(epochs)), remarks


def _fields_of(kind: type[Step] | type[Epoch], line: Mapping[str, Any], where: str) -> dict[str, Any]:
    required = [name for name in ("epoch", "step") if name not in line]
    if required:
        raise DataError(where, f"has no '{required[0]}'", "step and epoch in every line", "remove the line")
    known = {name: line[name] for name in kind.__dataclass_fields__ if name in line}
    return {name: math.nan if value is None else value for name, value in known.items()}


def _json_lines(path: Path, remarks: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, object) of every line. An unfinished last line is left out, with a remark."""
    if not path.exists():
        return
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and line:
            remarks.append(f"{path.name}: the last line is unfinished and was left out")
        elif line:
            yield f"{path}:{number}", _parse(f"{path}:{number}", line)


def _parse(where: str, text: str) -> dict[str, Any]:
    value = parsed_json(text, where, "one JSON object")
    if not isinstance(value, dict):
        raise DataError(where, f"has a {type(value).__name__}", "one JSON object", "remove the line")
    return value


def _read_settings(path: Path) -> tuple[str, float | None]:
    text = _text_of(path)
    try:
        clip_norm = (parsed_yaml(text, str(path)) or {}).get("train", {}).get("clip_norm")
        return text, None if clip_norm is None else float(clip_norm)
    except (AttributeError, TypeError, ValueError):
        raise DataError(str(path), "is not a settings file", "the resolved settings of the run", "") from None


def _real_time(summary: Mapping[str, float]) -> float:
    return summary["audio_s"] / summary["seconds"] if summary.get("audio_s") and summary.get("seconds") else math.nan


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(str(path), text) if (text := _text_of(path)) else {}


def _text_of(path: Path) -> str:
    return read_text(path) if path.exists() else ""


def _read_set(folder: Path, missing: list[str]) -> DecodedSet | None:
    name = folder.name.removeprefix("decode_")
    data = _read_data(folder, missing)
    texts = _read_texts(folder, data, missing)
    if texts is None:
        return None
    refs, hyps = texts
    speakers = data.utt2spk if data else None
    tokens = dict(_tokens(where, line) for where, line in _json_lines(folder / "tokens.jsonl", missing))
    if not tokens:
        missing.append(f"{folder.name}/tokens.jsonl is not there: no token times in the pictures")
    return DecodedSet(
        name,
        score(refs, hyps, speakers, where=f"{folder}/text"),
        score(refs, hyps, speakers, symbols=characters, where=f"{folder}/text"),
        tokens,
        {utterance.utt_id: utterance for utterance in data.utterances} if data else {},
        _real_time(_read_json(folder / "summary.json")),
    )


def _read_data(folder: Path, missing: list[str]) -> DataDirectory | None:
    if not (folder / "data_dir").exists():
        missing.append(f"{folder.name}/data_dir is not there: no audio, no pictures, no speakers")
        return None
    try:
        return DataDirectory.read(Path(_text_of(folder / "data_dir").strip()))
    except DataError as error:  # the data may have moved; the rest of the report is still useful
        missing.append(f"{folder.name}: the data cannot be read from here, so no audio or pictures ({error})")
        return None


def _read_texts(
    folder: Path, data: DataDirectory | None, missing: list[str]
) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
    """References and hypotheses: from the data and ``text``, or from the alignments of an earlier scoring."""
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
