"""The report of an experiment: an HTML page with training curves, error analysis, the worst utterances, and settings.

Its input are these files of an experiment folder, each of which may be absent while training runs:

train.jsonl               {"event": "step", ...} and {"event": "epoch", ...} lines, as in Step and Epoch below
settings.yaml             the resolved settings
environment.json          names and values of any kind
decode_<set>/text         hypotheses, Kaldi text
decode_<set>/tokens.jsonl {"utt_id", "tokens": [{"token", "start_s"}], ...}, times from the utterance's start
decode_<set>/data_dir     one line: the data directory that was decoded
decode_<set>/score/       the files of 'recitative score'

Each function after ``page`` gives one section's values to ``report/templates/recognition.html.j2``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.atomic import write_text
from recitative.audio.files import read_audio
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.tables import read_table
from recitative.errors import DataError, UsageError
from recitative.reading import checked, parsed_json, parsed_yaml, read_text
from recitative.report.charts import Line, Mark, Recording, confusion_matrix, line_chart, spectrogram, summarize
from recitative.report.figure import Figure
from recitative.report.page import duration, encode_mp3, percent, render, sound_uri
from recitative.score.wer import (
    Alignment,
    ErrorRates,
    Pair,
    characters,
    confidence_interval,
    count_confusions,
    read_utterances,
    score,
)
from recitative.text.tokens import SPACE

Progress = Callable[[int, int, str], None]
"""Called with (done, total, name of the current item)."""

WORST = 12  # utterances shown of each set
MAX_NAMED = 20  # steps or utterances named in a note
MAX_WORDS = 20  # kinds of word errors shown
MAX_CHARACTERS = 40  # rows and columns of the matrix
MAX_SPEAKERS = 40

_COLORS = {"S": "sub", "I": "ins", "C": "ink", "": "ink"}  # of tokens


def write_report(
    experiment: Path, output: Path | None = None, *, worst: int = WORST, progress: Progress = lambda *_: None
) -> Path:
    """Write the report of an experiment folder and return its path, by default ``experiment/report.html``.

    The page says which files are missing. Raises UsageError if there is no such folder,
    DataError if it has nothing to report or a damaged file.
    """
    progress(0, 1, "reading")
    found = read_experiment(experiment)
    shown = {decoded.name: worst_utterances(decoded, worst) for decoded in found.sets}
    total = 1 + sum(map(len, shown.values()))
    utterances: dict[str, list[dict[str, Any]]] = {name: [] for name in shown}
    for decoded in found.sets:
        for utt_id in shown[decoded.name]:
            progress(1 + sum(map(len, utterances.values())), total, utt_id)
            utterances[decoded.name].append(utterance(decoded, utt_id))
    target = output or experiment / "report.html"
    write_text(target, page(found, utterances))
    progress(total, total, "done")
    return target


def page(experiment: Experiment, utterances: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """The page. utterances: those to show of each set, as ``utterance`` describes them."""
    skipped = [row.step for row in experiment.steps if row.skipped]
    note = f"{len(skipped)} of {len(experiment.steps)} steps skipped (NaN or inf): {_first(skipped)}"
    return render(
        "recognition.html.j2",
        title=experiment.path.resolve().name,
        facts=facts(experiment.environment),
        tiles=[one for decoded in experiment.sets for one in _set_tiles(decoded)] + _training_tiles(experiment),
        missing=experiment.missing,
        charts=training_charts(experiment),
        skipped=note if skipped else "",
        sets=[decoded_set(decoded) | {"utterances": utterances[decoded.name]} for decoded in experiment.sets],
        epochs=_epoch_table(experiment.epochs),
        settings=experiment.settings,
        environment=experiment.environment,
    )  # fmt: skip


def facts(environment: Mapping[str, Any]) -> list[str]:
    """The size of the model, the machine and the commit."""
    found = [str(environment[name]) for name in ("device", "machine") if name in environment]
    if "parameters" in environment:
        found.insert(0, f"{environment['parameters'] / 1e6:.2f} M parameters")
    if "commit" in environment:
        found.append(f"commit {environment['commit']}")
    return found


def training_charts(experiment: Experiment) -> list[tuple[str, Figure]]:
    """Captions and figures of losses, error rates, learning rate and gradient norm."""
    steps, epochs = experiment.steps, experiment.epochs
    if not steps and not epochs:
        return []
    at, step = _column(epochs, "step"), _column(steps, "step")
    tooltips = [f"epoch {row.epoch}: dev loss {row.dev_loss:.4g}" for row in epochs]
    dev = Line("dev", at, _column(epochs, "dev_loss"), tooltips=tooltips)
    train = (
        summarize("train", step, _column(steps, "loss")) if steps else Line("train", at, _column(epochs, "train_loss"))
    )
    rates = [
        Line(
            name,
            at,
            100 * _column(epochs, rate),
            tooltips=[
                f"epoch {row.epoch}: dev {name} {100 * getattr(row, rate):.2f} %{', best so far' if row.best else ''}"
                for row in epochs
            ],
        )
        for name, rate in _dev_rates(epochs)
    ]
    learning_rate = summarize("learning rate", step, _column(steps, "lr"))
    clip_norm, clipped = experiment.clip_norm, sum(row.clipped for row in steps) / max(1, len(steps))
    level = (clip_norm, f"clipped above {clip_norm:g} ({100 * clipped:.1f} % of steps)") if clip_norm else None
    marks: dict[str, Any] = {"marks": [row.step for row in steps if row.skipped], "marks_name": "skipped step"}
    gradient = summarize("gradient norm", step, _column(steps, "grad_norm"))
    return [
        ("Loss (nats per label)", line_chart((train, dev), "Loss per label", scale="log", **marks)),
        ("Dev error rates", line_chart(rates, "Dev error rates", scale="percent")),
        ("Learning rate", line_chart([Line("", learning_rate.x, learning_rate.y)], "Learning rate")),
        ("Gradient norm", line_chart([gradient], "Gradient norm", scale="log", level=level, **marks)),
    ]


def decoded_set(decoded: DecodedSet) -> dict[str, Any]:
    """The errors of one set by kind, speaker, word and character."""
    by_speaker = decoded.words.by_speaker
    worst = sorted(by_speaker.items(), key=lambda item: (-item[1].rate, item[0]))[:MAX_SPEAKERS]
    highest = max((counts.rate for counts in by_speaker.values()), default=0) or 1.0
    sentences = Counter(decoded.words.speakers.values())
    wrong = [(pair, n) for pair, n in count_confusions(decoded.words.alignments.values()).items() if pair.op != "C"]
    figure, left_out = character_matrix(count_confusions(decoded.characters.alignments.values()))
    return {
        "name": decoded.name,
        "absent": _first(decoded.words.missing) if decoded.words.missing else "",
        "kinds": [("words", decoded.words.total), ("characters", decoded.characters.total)],
        "speakers": [
            (name, counts.rate / highest if math.isfinite(counts.rate) else 1.0, counts, sentences[name])
            for name, counts in worst
        ],
        "speaker_count": len(by_speaker),
        "word_errors": sorted(wrong, key=lambda item: (-item[1], item[0]))[:MAX_WORDS],
        "word_error_count": len(wrong),
        "characters": figure,
        "characters_left_out": left_out,
    }


def character_matrix(counts: Mapping[Pair, int]) -> tuple[Figure, int]:
    """The confusions of the characters with the most errors, and how many characters were left out."""
    errors: Counter[str] = Counter()
    for pair, count in counts.items():
        for symbol in {pair.ref, pair.hyp} - {""}:
            errors[symbol] += count if pair.op != "C" else 0
    worst = sorted(errors, key=lambda symbol: (-errors[symbol], symbol))[:MAX_CHARACTERS]
    place = {symbol: n for n, symbol in enumerate([*sorted(worst), ""])}  # the last: inserted or deleted
    labels = [{"": "∅", " ": "\N{OPEN BOX}"}.get(symbol, symbol) for symbol in place]
    table, totals = np.zeros((len(place), len(place)), np.int64), [0] * len(place)
    for pair, count in counts.items():
        if pair.ref in place:
            totals[place[pair.ref]] += count
            if pair.hyp in place:
                table[place[pair.ref], place[pair.hyp]] += count

    def tooltip(row: int, column: int) -> str:
        return f"{labels[row]} → {labels[column]}: {table[row, column]}"

    figure = confusion_matrix(table, labels, "Confusions of characters", tooltip, totals=totals, show_right=False)
    return figure, len(errors) - len(worst)


def utterance(decoded: DecodedSet, utt_id: str) -> dict[str, Any]:
    """One utterance: its alignment, and its spectrogram with the tokens, and sound, if it can be read."""
    counts, alignment = decoded.words.by_utterance[utt_id], decoded.words.alignments[utt_id]
    found = decoded.utterances.get(utt_id)
    named = [f"speaker {found.speaker}"] if found else []
    named.append(f"{counts.errors} errors in {counts.ref} words")
    if utt_id in decoded.words.missing:
        named.append("no hypothesis")
    shown = {"utt_id": utt_id, "facts": named, "alignment": alignment, "problem": "", "spectrogram": None}
    if not found:
        return shown
    try:
        samples, sample_rate = read_audio(found.recording_path, start_s=found.start_s, end_s=found.end_s)
    except DataError as error:
        return shown | {"problem": str(error)}
    recording = Recording(samples, sample_rate)
    return shown | {
        "spectrogram": spectrogram(recording, token_marks(decoded.tokens.get(utt_id, ()), alignment)),
        "sound": sound_uri(recording, encode_mp3, "audio/mpeg"),
        "duration_s": recording.duration_s,
    }


def token_marks(tokens: Sequence[Token], alignment: Alignment) -> list[Mark]:
    """Tokens at their times, in the color of their word's edit operation; plain if the hypothesis differs."""
    hyps = [pair for pair in alignment if pair.op != "D"]
    same = "".join(token.token for token in tokens).split() == [pair.hyp for pair in hyps]
    marks, word, before = [], -1, " "
    for token in tokens:  # a letter, a space, or a space and a word
        symbol = token.token
        word += not symbol.isspace() and (before.isspace() or symbol[0].isspace())
        op = hyps[word].op if same and not symbol.isspace() else ""
        marks.append(Mark(token.start_s, "·" if symbol == " " else symbol.strip(), _COLORS[op]))
        before = symbol
    return marks


def worst_utterances(decoded: DecodedSet, count: int) -> list[str]:
    """utt_ids with errors: most errors first, then the higher rate, then by id."""
    counts = decoded.words.by_utterance
    wrong = [utt_id for utt_id in counts if counts[utt_id].errors]
    return sorted(wrong, key=lambda utt_id: (-counts[utt_id].errors, -counts[utt_id].rate, utt_id))[:count]


def _set_tiles(decoded: DecodedSet) -> list[tuple[str, str, str]]:
    """(value, name, detail)."""
    low, high = confidence_interval(decoded.words.by_utterance.values())
    words, chars = decoded.words, decoded.characters
    interval = f"{words.total.errors} of {words.total.ref} words; 95 %: {100 * low:.2f} to {100 * high:.2f}"
    speed = (f"{decoded.real_time:.0f} x", "real time", f"decoding {decoded.name}")
    return [
        (percent(words.total.rate), f"WER {decoded.name}", interval),
        (percent(chars.total.rate), f"CER {decoded.name}", f"{chars.total.errors} of {chars.total.ref}"),
        (percent(words.sentence_rate), f"SER {decoded.name}", words.sentence_counts().replace("/", "of")),
        *([speed] if math.isfinite(decoded.real_time) else []),
    ]


def _training_tiles(experiment: Experiment) -> list[tuple[str, str, str]]:
    """(value, name, detail)."""
    steps, epochs = experiment.steps, experiment.epochs
    tiles = []
    for name, rate in _dev_rates(epochs)[:1]:
        best = min(epochs, key=lambda row: float(np.nan_to_num(getattr(row, rate), nan=math.inf)))
        tiles.append((percent(getattr(best, rate)), f"best dev {name}", f"epoch {best.epoch}, step {best.step}"))
    if epochs:
        audio_s = sum(row.audio_s for row in steps if row.step <= epochs[-1].step)
        speed = f"{audio_s / epochs[-1].seconds:.0f} x real time" if audio_s and epochs[-1].seconds > 0 else ""
        tiles.append((duration(epochs[-1].seconds), "training", speed))
    if steps:
        tiles.append((f"{steps[-1].step}", "steps", f"in epoch {steps[-1].epoch}, loss {steps[-1].loss:.3f}"))
    return tiles


def _dev_rates(epochs: Sequence[Epoch]) -> list[tuple[str, str]]:
    """Names of the error rates that the epochs have, and their fields of ``Epoch``."""
    rates = (("WER", "dev_wer"), ("CER", "dev_cer"), ("PER", "dev_per"))
    return [(name, rate) for name, rate in rates if np.isfinite(_column(epochs, rate)).any()]


def _epoch_table(epochs: Sequence[Epoch]) -> list[tuple[str, ...]]:
    """The heading and a row for each epoch."""
    rates = _dev_rates(epochs)
    rows = [("epoch", "step", "train loss", "dev loss", *(f"dev {name}" for name, _ in rates), "time")]
    for row in epochs:
        losses = (f"{row.train_loss:.4f}", f"{row.dev_loss:.4f}")
        shown = (percent(getattr(row, rate)) for _, rate in rates)
        rows.append((f"{row.epoch}{' ★' if row.best else ''}", str(row.step), *losses, *shown, duration(row.seconds)))
    return rows


def _first(names: Sequence[object]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(map(str, names[:MAX_NAMED])) + more


def _column(rows: Sequence[Step] | Sequence[Epoch], field: str) -> npt.NDArray[np.float64]:
    return np.array([getattr(row, field) for row in rows], dtype=np.float64)


# The files of an experiment folder.


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
    missing: tuple[str, ...] = ()  # absent or unreadable files, one line each


def read_experiment(path: Path) -> Experiment:
    """Read the files that are there and list those that are not.

    Raises UsageError if ``path`` is no folder, DataError if it holds nothing to report or if a file is damaged.
    """
    if not path.is_dir():
        raise UsageError(f"{path}: is not a folder; give the experiment folder, for example exp/blstm")
    folders = sorted(folder for folder in path.glob("decode_*") if folder.is_dir())
    if not folders and not (path / "train.jsonl").exists():
        raise DataError(str(path), "holds neither train.jsonl nor decode_*", "", "train or decode into it first")
    expected = ("train.jsonl", "settings.yaml", "environment.json")
    missing = [f"{name} is not there" for name in expected if not (path / name).exists()]
    steps, epochs, remarks = _read_log(path / "train.jsonl")
    missing += remarks
    sets = [decoded for folder in folders if (decoded := _read_set(folder, missing))]
    if not folders:
        missing.append("no decode_<set> folder yet: error rates, confusions and utterances come with the first one")
    settings, clip_norm = _read_settings(path / "settings.yaml")
    environment = _read_json(path / "environment.json")
    return Experiment(path, steps, epochs, settings, clip_norm, environment, tuple(sets), tuple(missing))


def _read_log(path: Path) -> tuple[tuple[Step, ...], tuple[Epoch, ...], list[str]]:
    """Steps and epochs in order. If a step was repeated after an interruption, the last run counts."""
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
    summary = _read_json(folder / "summary.json")
    timed = summary.get("audio_s") and summary.get("seconds")
    tokens = dict(_tokens(where, line) for where, line in _json_lines(folder / "tokens.jsonl", missing))
    if not tokens:
        missing.append(f"{folder.name}/tokens.jsonl is not there: no token times in the pictures")
    return DecodedSet(
        name,
        score(refs, hyps, speakers, where=f"{folder}/text"),
        score(refs, hyps, speakers, symbols=characters, where=f"{folder}/text"),
        tokens,
        {utterance.utt_id: utterance for utterance in data.utterances} if data else {},
        summary["audio_s"] / summary["seconds"] if timed else math.nan,
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
