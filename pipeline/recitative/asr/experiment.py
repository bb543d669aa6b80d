"""The experiment of a recognizer: the files that training and decoding leave in its folder, and what pages show.

train.jsonl      {"event": "step", ...} and {"event": "epoch", ...} lines, as in Step and Epoch below
settings.yaml    the resolved settings
environment.json names and values of any kind
results.jsonl    in this folder or the one above: 'recitative score --results', the rows of the model of this name

decode_<set>/text         hypotheses, Kaldi text
decode_<set>/tokens.jsonl {"utt_id", "tokens": [{"token", "start_s"}], ...}, times from the utterance's start
decode_<set>/words.jsonl  {"utt_id", "words": [...]}, with times and confidences
decode_<set>/data_dir     one line: the data directory that was decoded
decode_<set>/model        one line: the model that decoded it; without it, model or model.onnx of the experiment
decode_<set>/score/       the files of 'recitative score'

Each of them may be absent while training runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.data.directory import DataDirectory, Utterance
from recitative.data.tables import read_table
from recitative.errors import DataError, UsageError
from recitative.reading import checked, parsed_json, parsed_yaml, read_text
from recitative.report.charts import Line, line_chart, summarize
from recitative.report.figure import Figure
from recitative.report.page import Cell, duration, percent
from recitative.score.classification import hypothesis_correct, read_timed_words
from recitative.score.results import ResultRow, read_results
from recitative.score.wer import ErrorRates, characters, read_utterances, score
from recitative.stage import Array
from recitative.text.tokens import SPACE, Word

MAX_NAMED = 20  # steps or utterances named in a note
_RATES = ("wer", "cer", "per", "accuracy", "uar", "att_accuracy")  # scores from 0 to 1, shown in per cent


@dataclass(frozen=True)
class Step:
    """One optimizer step; NaN where a number was not finite or not written."""

    step: int
    epoch: int  # from 0, as in the file; pages count from 1, as the terminal does
    loss: float = math.nan  # per label, note, sample: what the model predicts
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
    seconds: float = math.nan  # wall clock since the run began
    best: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)  # the other values on the dev set, such as 'wer', 0..1


@dataclass(frozen=True)
class Training:
    path: Path  # the folder
    steps: tuple[Step, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    settings: str = ""  # YAML; empty if absent
    kind: str = ""  # of model, by the settings
    clip_norm: float | None = None  # train.clip_norm of the settings
    environment: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[ResultRow, ...] = ()
    missing: tuple[str, ...] = ()  # absent or unfinished files, one line each

    @property
    def name(self) -> str:
        return self.path.resolve().name


def read_training(path: Path) -> Training:
    """Read the files that are there and list those that are not. Raises DataError if one is damaged."""
    expected = ("train.jsonl", "settings.yaml", "environment.json")
    missing = [f"{name} is not there" for name in expected if not (path / name).exists()]
    steps, epochs = _read_log(path / "train.jsonl", missing)
    settings, kind, clip_norm = _read_settings(path / "settings.yaml")
    name = path.resolve().name
    tables = [table for folder in (path, path.resolve().parent) if (table := folder / "results.jsonl").exists()]
    results = tuple(row for table in tables[:1] for row in read_results(table) if row.model == name)
    environment = read_json_object(path / "environment.json")
    return Training(path, steps, epochs, settings, kind, clip_norm, environment, results, tuple(missing))


def _read_log(path: Path, remarks: list[str]) -> tuple[tuple[Step, ...], tuple[Epoch, ...]]:
    """Steps and epochs in order. If a step was repeated after an interruption, the last run counts."""
    steps: dict[int, Step] = {}
    epochs: dict[int, Epoch] = {}
    for where, line in json_lines(path, remarks):
        if line.get("event") == "step":
            step = checked(Step, _fields_of(Step, line, where), where, "a step of training", "remove the line")
            steps[step.step] = step
        elif line.get("event") == "epoch":
            scores = {
                name.removeprefix("dev_"): math.nan if value is None else value
                for name, value in line.items()
                if name.startswith("dev_") and name != "dev_loss"
            }
            values = _fields_of(Epoch, line, where) | {"scores": scores}
            epoch = checked(Epoch, values, where, "an epoch of training", "remove the line")
            epochs[epoch.epoch] = epoch
    return tuple(steps[n] for n in sorted(steps)), tuple(epochs[n] for n in sorted(epochs))


def _fields_of(kind: type[Step] | type[Epoch], line: Mapping[str, Any], where: str) -> dict[str, Any]:
    required = [name for name in ("epoch", "step") if name not in line]
    if required:
        raise DataError(where, f"has no '{required[0]}'", "step and epoch in every line", "remove the line")
    known = {name: line[name] for name in kind.__dataclass_fields__ if name in line}
    return {name: math.nan if value is None else value for name, value in known.items()}


def json_lines(path: Path, remarks: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, object) of every line. An unfinished last line is left out, with a remark."""
    if not path.exists():
        return
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and line:
            remarks.append(f"{path.name}: the last line is unfinished and was left out")
        elif line:
            yield f"{path}:{number}", _parse(f"{path}:{number}", line)


def read_json_object(path: Path) -> dict[str, Any]:
    """Empty if there is no such file."""
    return _parse(str(path), text) if (text := text_of(path)) else {}


def text_of(path: Path) -> str:
    """Empty if there is no such file."""
    return read_text(path) if path.exists() else ""


def _parse(where: str, text: str) -> dict[str, Any]:
    value = parsed_json(text, where, "one JSON object")
    if not isinstance(value, dict):
        raise DataError(where, f"has a {type(value).__name__}", "one JSON object", "remove the line")
    return value


def _read_settings(path: Path) -> tuple[str, str, float | None]:
    text = text_of(path)
    try:
        values = parsed_yaml(text, str(path)) or {}
        clip_norm = values.get("train", {}).get("clip_norm")
        return text, str(values.get("kind", "")), None if clip_norm is None else float(clip_norm)
    except (AttributeError, TypeError, ValueError):
        raise DataError(str(path), "is not a settings file", "the resolved settings of the run", "") from None


# What pages show


def facts(environment: Mapping[str, Any]) -> list[str]:
    """The size of the model, the machine and the commit."""
    found = [str(environment[name]) for name in ("device", "machine") if name in environment]
    if "parameters" in environment:
        found.insert(0, f"{environment['parameters'] / 1e6:.2f} M parameters")
    if "commit" in environment:
        found.append(f"commit {environment['commit']}")
    return found


def skipped_steps(training: Training) -> str:
    """A note about the steps without an update; empty if there are none."""
    skipped = [row.step for row in training.steps if row.skipped]
    return f"{len(skipped)} of {len(training.steps)} steps skipped (NaN or inf): {first(skipped)}" if skipped else ""


def training_charts(training: Training) -> list[tuple[str, Figure]]:
    """Captions and figures of losses, scores on the dev set, learning rate and gradient norm."""
    steps, epochs = training.steps, training.epochs
    if not steps and not epochs:
        return []
    at, step = _column(epochs, "step"), _column(steps, "step")
    tooltips = [f"epoch {row.epoch + 1}: dev loss {row.dev_loss:.4g}" for row in epochs]
    dev = Line("dev", at, _column(epochs, "dev_loss"), tooltips=tooltips)
    train = (
        summarize("train", step, _column(steps, "loss")) if steps else Line("train", at, _column(epochs, "train_loss"))
    )
    learning_rate = summarize("learning rate", step, _column(steps, "lr"))
    clip_norm, clipped = training.clip_norm, sum(row.clipped for row in steps) / max(1, len(steps))
    level = (clip_norm, f"clipped above {clip_norm:g} ({100 * clipped:.1f} % of steps)") if clip_norm else None
    marks: dict[str, Any] = {"marks": [row.step for row in steps if row.skipped], "marks_name": "skipped step"}
    gradient = summarize("gradient norm", step, _column(steps, "grad_norm"))
    return [
        ("Loss (nats per label)", line_chart((train, dev), "Loss per label", scale="log", **marks)),
        *_score_charts(epochs, at),
        ("Learning rate", line_chart([Line("", learning_rate.x, learning_rate.y)], "Learning rate")),
        ("Gradient norm", line_chart([gradient], "Gradient norm", scale="log", level=level, **marks)),
    ]


def _score_charts(epochs: Sequence[Epoch], at: npt.NDArray[np.float64]) -> list[tuple[str, Figure]]:
    """Rates from 0 to 1 in one chart, each other score in its own."""
    rates: list[Line] = []
    others: list[tuple[str, Figure]] = []
    for name in _scores(epochs):
        values = np.array([row.scores.get(name, math.nan) for row in epochs])
        tooltips = [
            f"epoch {row.epoch + 1}: dev {_title(name)} {_shown(name, value)}{', best so far' if row.best else ''}"
            for row, value in zip(epochs, values.tolist(), strict=True)
        ]
        line = Line(_title(name), at, (100 if name in _RATES else 1) * values, tooltips=tooltips)
        if name in _RATES:
            rates.append(line)
        else:
            others.append((f"Dev {_title(name)}", line_chart([line], f"Dev {_title(name)}")))
    return [*([("Dev rates", line_chart(rates, "Dev rates", scale="percent"))] if rates else []), *others]


def training_tiles(training: Training) -> list[tuple[str, str, str]]:
    """(value, name, detail)."""
    steps, epochs = training.steps, training.epochs
    tiles = []
    best = [row for row in epochs if row.best][-1:]
    for name in _scores(epochs)[:1]:
        for row in best:
            shown = _shown(name, row.scores.get(name, math.nan))
            tiles.append((shown, f"best dev {_title(name)}", f"epoch {row.epoch + 1}, step {row.step}"))
    if epochs:
        audio_s = sum(row.audio_s for row in steps if row.step <= epochs[-1].step)
        speed = f"{audio_s / epochs[-1].seconds:.0f} x real time" if audio_s and epochs[-1].seconds > 0 else ""
        tiles.append((duration(epochs[-1].seconds), "training", speed))
    if steps:
        tiles.append((f"{steps[-1].step}", "steps", f"in epoch {steps[-1].epoch + 1}, loss {steps[-1].loss:.3f}"))
    return tiles


def epoch_table(epochs: Sequence[Epoch]) -> tuple[list[str], list[list[Cell]]]:
    """The heading, and a row for each epoch."""
    scores = _scores(epochs)
    head = ["epoch", "step", "train loss", "dev loss", *(f"dev {_title(score)}" for score in scores), "time"]
    rows = []
    for row in epochs:
        losses = [Cell(f"{loss:.4f}", loss) for loss in (row.train_loss, row.dev_loss)]
        values = {score: row.scores.get(score, math.nan) for score in scores}
        shown = [Cell(_shown(score, value), value) for score, value in values.items()]
        epoch = Cell(f"{row.epoch + 1}{' ★' if row.best else ''}", row.epoch)
        time = Cell(duration(row.seconds), row.seconds)
        rows.append([epoch, Cell(str(row.step), row.step), *losses, *shown, time])
    return head, rows


def result_table(results: Sequence[ResultRow]) -> tuple[list[str], list[list[Cell]]]:
    """Set by metric: a row for each set and decoding, a column for each metric. The heading, and the rows."""
    metrics = list(dict.fromkeys(row.metric for row in results))
    values = {(row.set, row.decoding, row.metric): row for row in results}
    rows = []
    for name, decoding in dict.fromkeys((row.set, row.decoding) for row in results):
        found = [values.get((name, decoding, metric)) for metric in metrics]
        numbers = [Cell(f"{row.value:.4g}", row.value, title=row.counts) if row else Cell("") for row in found]
        rows.append([Cell(name), Cell(decoding), *numbers])
    return ["set", "decoding", *metrics], rows


def _scores(epochs: Sequence[Epoch]) -> list[str]:
    """The scores that some epoch has, in the order of the log."""
    names = dict.fromkeys(name for row in epochs for name in row.scores)
    return [name for name in names if any(math.isfinite(row.scores.get(name, math.nan)) for row in epochs)]


def _title(score: str) -> str:
    return score.upper() if score in ("wer", "cer", "per", "uar") else score.replace("_", " ")


def _shown(score: str, value: float) -> str:
    return percent(value) if score in _RATES else f"{value:.4g}"


def first(names: Sequence[object]) -> str:
    """The first MAX_NAMED names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(map(str, names[:MAX_NAMED])) + more


def _column(rows: Sequence[Step] | Sequence[Epoch], name: str) -> npt.NDArray[np.float64]:
    return np.array([getattr(row, name) for row in rows], dtype=np.float64)


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
