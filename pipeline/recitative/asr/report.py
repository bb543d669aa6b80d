"""The page about one recognizer's experiment or two: error rates, error analysis, utterances to see and hear, training.

``report/templates/experiment.html.j2`` shows them. The page is one file with the worst utterances, or is served by
``report.page``, where every utterance can be opened.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recitative.asr import experiment as training
from recitative.asr.alignment import SpokenWord, pronounce_with, pronunciations_of, spoken_words
from recitative.asr.experiment import DecodedSet, Experiment, Token, first, read_experiment
from recitative.asr.stream import Transcriber
from recitative.atomic import write_text
from recitative.audio.files import read_audio
from recitative.data.directory import Utterance
from recitative.decoding.hypotheses import BLANK, align_words
from recitative.errors import DataError, UsageError, counted
from recitative.features.frontend import to_samples
from recitative.report.charts import (
    Mark,
    Posteriors,
    Recording,
    Span,
    Track,
    confusion_matrix,
    reliability_diagram,
    spectrogram,
)
from recitative.report.figure import Figure
from recitative.report.page import MAX_SOUND_S, Cell, encode_mp3, percent, render, render_part, sound_uri
from recitative.score.classification import expected_calibration_error, reliability
from recitative.score.wer import Alignment, Pair, confidence_interval, count_confusions, difference_interval
from recitative.stage import Array
from recitative.text.tokens import TokenTable, Word

Progress = Callable[[int, int, str], None]
"""Called with (done, total, name of the current item)."""

OpenModel = Callable[[str], Transcriber]
"""Opens the model of a name or path. Raises DataError or UsageError."""

WORST = 12  # utterances shown of each set
MAX_ROWS = 2000  # utterances listed of each set
MAX_WORDS = 20  # kinds of word errors shown
MAX_SYMBOLS = 40  # rows and columns of the matrix
MAX_TOKENS = 24  # rows of posteriors
LEAST_POSTERIOR = 0.05  # a token that is never as probable has no row

_COLORS = {"S": "sub", "I": "ins", "D": "del", "C": "ink", "": "ink"}  # of words and tokens
_SAID = {"S": "recognized as", "I": "inserted", "D": "deleted", "C": "correct"}


def write_report(
    experiment: Path,
    output: Path | None = None,
    *,
    compare: Path | None = None,
    worst: int = WORST,
    open_model: OpenModel | None = None,
    progress: Progress = lambda *_: None,
) -> Path:
    """Write the report of an experiment folder and return its path, by default ``experiment/report.html``.

    compare: another experiment on the same sets. open_model: for posteriors and alignments.
    The page says which files are missing. Raises UsageError if there is no such folder, DataError if it has nothing to
    report or a damaged file.
    """
    progress(0, 1, "reading")
    report = Report([read_experiment(path) for path in (experiment, compare) if path], open_model)
    target = output or experiment / "report.html"
    write_text(target, report.page(worst, progress))
    return target


# What a model says of an utterance


@dataclass(frozen=True)
class Inspection:
    """log_probs: (T, V). words: those of the transcript, at their times.

    label_score: ln P of the transcript's best path - ln P of the best path of all, in nats: 0 if the network hears the
    transcript, far below if it hears something else; -inf if the transcript cannot be aligned.
    """

    log_probs: Array
    words: tuple[SpokenWord, ...]
    label_score: float
    problem: str = ""  # why the transcript cannot be aligned


def inspect(transcriber: Transcriber, samples: Array, text: str) -> Inspection:
    """samples: (S,) at the model's sample rate."""
    log_probs = transcriber.log_probs([samples])[0]
    best, words = float(log_probs.max(axis=1).sum()), text.split()
    if not words:
        return Inspection(log_probs, (), float(log_probs[:, BLANK].sum()) - best)
    try:
        pronunciations = pronunciations_of(words, pronounce_with(transcriber))
        path = align_words(log_probs, pronunciations, separator=transcriber.tokens.space)
    except DataError as error:
        return Inspection(log_probs, (), -math.inf, f"the transcript cannot be aligned: {error}")
    return Inspection(log_probs, spoken_words(transcriber, words, path), min(0.0, path.log_prob - best))


def posteriors(inspection: Inspection, tokens: TokenTable, frame_s: float) -> Posteriors:
    """The tokens that are probable at some time, in the order in which they are most probable; the blank last."""
    probabilities = np.exp(inspection.log_probs.T)  # (V, T)
    highest = probabilities.max(axis=1, initial=0.0)
    likely = [n for n in np.argsort(-highest, kind="stable")[:MAX_TOKENS] if highest[n] >= LEAST_POSTERIOR]
    rows = sorted((n for n in likely if n != BLANK), key=lambda n: int(probabilities[n].argmax()))
    names = ["\N{OPEN BOX}" if n == tokens.space else tokens.decode([n]).strip() for n in rows]
    return Posteriors([*names, "blank"], probabilities[[*rows, BLANK]], frame_s)


# The page


@dataclass
class Report:
    """One experiment, or two that are compared, and the models that are opened when an utterance needs them.

    live: the page is served, so that each utterance can be opened. open_model: None: no posteriors, no alignments
    """

    experiments: Sequence[Experiment]
    open_model: OpenModel | None = None
    live: bool = False
    _models: dict[str, Transcriber | str] = field(default_factory=dict)  # or why it cannot be opened

    def page(self, worst: int = 0, progress: Progress = lambda *_: None) -> str:
        """The page with the worst utterances of each set."""
        main, names = self.experiments[0], self._names
        shown = {
            decoded.name: [u for u in decoded.worst_first() if decoded.words.by_utterance[u].errors][:worst]
            for decoded in main.sets
        }
        total, sets = sum(map(len, shown.values())) + 1, []
        done = 0
        for decoded in main.sets:
            articles = []
            for utt_id in shown[decoded.name]:
                progress(done := done + 1, total, utt_id)
                articles.append(self._utterance(decoded, utt_id))
            listed = utterance_table(self._pair(decoded), live=self.live, opens=shown[decoded.name])
            sets.append(decoded_set(decoded, listed) | {"utterances": articles})
        run = main.training
        html = render(
            "experiment.html.j2",
            title=" and ".join(names),
            live=self.live,
            facts=training.facts(run.environment),
            tiles=training.training_tiles(run),
            missing=[*main.missing, *self._unpaired(), *self._unopened()],
            metrics=metric_table([self._pair(decoded) for decoded in main.sets], names),
            results=training.result_table(run.results) if run.results and not main.sets else None,
            charts=training.training_charts(run),
            skipped=training.skipped_steps(run),
            sets=sets,
            epochs=training.epoch_table(run.epochs),
            settings=run.settings,
            environment=run.environment,
        )
        progress(total, total, "done")
        return html

    def detail(self, key: str) -> str:
        """The part of the page about one utterance, as HTML. Raises KeyError for an unknown key, SET/UTT_ID."""
        name, _, utt_id = key.partition("/")
        decoded = {decoded.name: decoded for decoded in self.experiments[0].sets}[name]
        return render_part("utterance", self._utterance(decoded, utt_id))

    def label_scores(self, name: str) -> Iterator[tuple[str, float]]:
        """(key, label score) of each utterance of a set, by the first experiment's model; see ``Inspection``.

        Raises KeyError for an unknown set, DataError if there is no model or no audio.
        """
        decoded = {decoded.name: decoded for decoded in self.experiments[0].sets}[name]
        transcriber = self._model_of(decoded)
        if isinstance(transcriber, str):
            raise DataError(f"set {name}", transcriber, "", "")
        for utt_id in decoded.worst_first()[:MAX_ROWS]:
            recording = _recording(decoded, utt_id)
            if not isinstance(recording, Recording) or recording.sample_rate != transcriber.sample_rate:
                continue
            text = decoded.utterances[utt_id].text or ""
            yield f"{name}/{utt_id}", inspect(transcriber, recording.samples, text).label_score

    @property
    def _names(self) -> list[str]:
        names = [one.training.name for one in self.experiments]
        return names if len(set(names)) == len(names) else [str(one.training.path) for one in self.experiments]

    def _pair(self, decoded: DecodedSet) -> list[DecodedSet]:
        """The set in each experiment; without those that lack it. If each has one set, these are a pair."""
        return [decoded, *(other for other in self._others() if self._are_single() or other.name == decoded.name)]

    def _others(self) -> list[DecodedSet]:
        return [other for one in self.experiments[1:] for other in one.sets]

    def _are_single(self) -> bool:
        return all(len(one.sets) == 1 for one in self.experiments)

    def _unpaired(self) -> list[str]:
        names = [{decoded.name for decoded in one.sets if not self._are_single()} for one in self.experiments]
        alone = set[str].union(*names) - set[str].intersection(*names)
        return [f"only one experiment has decode_{name}" for name in sorted(alone)]

    def _unopened(self) -> list[str]:
        return [model for model in self._models.values() if isinstance(model, str)]

    def _model_of(self, decoded: DecodedSet) -> Transcriber | str:
        """The model, or why there is none."""
        if not self.open_model:
            return ""
        if decoded.model not in self._models:
            try:
                if not decoded.model:
                    raise DataError(f"decode_{decoded.name}/model", "is not there")
                self._models[decoded.model] = self.open_model(decoded.model)
            except (DataError, UsageError) as error:
                self._models[decoded.model] = f"no posteriors and no alignments: {error}"
        return self._models[decoded.model]

    def _utterance(self, decoded: DecodedSet, utt_id: str) -> dict[str, Any]:
        """One utterance: its alignment, and spectrogram, posteriors and sound, if they can be had."""
        pair = self._pair(decoded)
        recording = _recording(decoded, utt_id)
        models = [self._model_of(one) if isinstance(recording, Recording) else "" for one in pair]
        heard = [_inspected(model, recording, decoded.utterances.get(utt_id)) for model in models]
        shown = {
            "key": f"{decoded.name}/{utt_id}",
            "name": utt_id,
            "sides": ("ref", "hyp"),
            "facts": [f"speaker {decoded.utterances[utt_id].speaker}"] if utt_id in decoded.utterances else [],
            "systems": [
                _system(name if len(pair) > 1 else "", one, utt_id, found)
                for name, one, found in zip(self._names, pair, heard, strict=False)
                if utt_id in one.words.alignments
            ],
            "problem": recording if isinstance(recording, str) else "",
        }
        if isinstance(recording, str):
            return shown
        notes = [*(self._unopened() if self.live else ()), *(one.problem for one in heard if one)]
        below: list[Track | Posteriors] = []
        if heard[0] and heard[0].words:
            below.append(Track("ref", [Span(word.start_s, word.end_s, word.word) for word in heard[0].words]))
        for name, one, model, found in zip(self._names, pair, models, heard, strict=False):
            if len(pair) > 1:
                below.append(Track(f"{name}:", ()))
            if found and isinstance(model, Transcriber):
                below.append(posteriors(found, model.tokens, model.frame_s))
            if utt_id in one.timed and utt_id in one.words.alignments:
                below.append(_hyp_track(one.timed[utt_id], one.words.alignments[utt_id]))
        marks = token_marks(decoded.tokens.get(utt_id, ()), decoded.words.alignments[utt_id])
        return shown | {
            "notes": list(dict.fromkeys(note for note in notes if note)),
            "picture": spectrogram(recording, marks if any(len(m.text) == 1 for m in marks) else (), below),
            "sound": sound_uri(recording, encode_mp3, "audio/mpeg"),
            "features": _features_as_sound(models[0], recording) if self.live else "",
            "duration_s": recording.duration_s,
        }


def _recording(decoded: DecodedSet, utt_id: str) -> Recording | str:
    """The sound of an utterance, or why there is none."""
    if not (found := decoded.utterances.get(utt_id)):
        return "the data cannot be read from here"
    try:
        return Recording(*read_audio(found.recording_path, start_s=found.start_s, end_s=found.end_s))
    except DataError as error:
        return str(error)


def _inspected(model: Transcriber | str, recording: Recording | str, utterance: Utterance | None) -> Inspection | None:
    if isinstance(model, str) or isinstance(recording, str) or not utterance:
        return None
    if recording.sample_rate != model.sample_rate:
        return None
    return inspect(model, recording.samples, utterance.text or "")


def _features_as_sound(model: Transcriber | str, recording: Recording) -> str:
    """What the network gets, for the ear; empty without a model or librosa."""
    if isinstance(model, str) or recording.sample_rate != model.sample_rate or recording.duration_s > MAX_SOUND_S:
        return ""
    extractor = model.extractor
    try:
        samples = to_samples(extractor.compute(recording.samples), extractor.settings)
    except ImportError:
        return ""
    return sound_uri(Recording(samples, recording.sample_rate), encode_mp3, "audio/mpeg")


def _system(name: str, decoded: DecodedSet, utt_id: str, heard: Inspection | None) -> dict[str, Any]:
    """What one experiment made of an utterance. words: (op, ref, hyp, start_s, end_s, description)."""
    counts, alignment = decoded.words.by_utterance[utt_id], decoded.words.alignments[utt_id]
    facts = [f"{counted(counts.errors, 'error')} in {counted(counts.ref, 'word')}"]
    if utt_id in decoded.words.missing:
        facts.append("no hypothesis")
    if heard:
        facts.append(f"label score {heard.label_score:.1f}")
    refs, hyps = iter(heard.words if heard else ()), iter(decoded.timed.get(utt_id, ()))
    words = []
    for op, ref, hyp in alignment:
        said = next(refs, None) if op != "I" else None
        found = next(hyps, None) if op != "D" else None
        place = found or said
        description = f"{ref or hyp}: {_SAID[op]}{f' {hyp}' if op == 'S' else ''}"
        if found:
            description += f", confidence {found.confidence:.2f}"
        times = (place.start_s, place.end_s) if place else None
        words.append((op, ref, hyp, times, description))
    return {"name": name, "facts": facts, "words": words}


def _hyp_track(words: Sequence[Word], alignment: Alignment) -> Track:
    ops = [pair.op for pair in alignment if pair.op != "D"]
    ops = ops if len(ops) == len(words) else ["C"] * len(words)
    spans = [Span(word.start_s, word.end_s, word.word, _COLORS[op]) for word, op in zip(words, ops, strict=True)]
    return Track("hyp", spans)


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


def metric_table(sets: Sequence[Sequence[DecodedSet]], names: Sequence[str]) -> tuple[list[str], list[list[Cell]]]:
    """Set by metric. sets: each in one experiment, or in two, whose difference follows. The heading, and the rows."""
    head = ["set", "WER", "95 % interval", "errors / words", "sub", "del", "ins", "CER", "SER", "ECE", "x real time"]
    rows = []
    for pair in sets:
        for name, decoded in zip(names, pair, strict=False):
            rows.append([*([Cell(name)] if len(names) > 1 else []), *_metrics(decoded)])
        if len(pair) == 2:
            rows.append(_difference(*pair))
    return ["experiment", *head] if len(names) > 1 else head, rows


def _metrics(decoded: DecodedSet) -> list[Cell]:
    words, total = decoded.words, decoded.words.total
    low, high = confidence_interval(words.by_utterance.values())
    confidences, correct = decoded.confidences()
    ece = expected_calibration_error(confidences, correct) if len(correct) else math.nan
    counts = (total.substitutions, total.deletions, total.insertions)
    return [
        Cell(decoded.name),
        Cell(percent(total.rate), total.rate, strong=True),
        Cell(f"{100 * low:.2f} to {100 * high:.2f}", low),
        Cell(f"{total.errors} / {total.ref}", total.errors),
        *(Cell(str(count), count) for count in counts),
        Cell(percent(decoded.characters.total.rate), decoded.characters.total.rate),
        Cell(percent(words.sentence_rate), words.sentence_rate, title=words.sentence_counts().replace("/", "of")),
        Cell(_number(ece, 3), ece, title="expected calibration error of the confidences of words"),
        Cell(_number(decoded.real_time, 0), decoded.real_time),
    ]


def _difference(one: DecodedSet, other: DecodedSet) -> list[Cell]:
    """Of the second from the first, with its interval by a bootstrap over the utterances that both have."""
    low, high = difference_interval(one.words.by_utterance, other.words.by_utterance)
    sure = "not significant: 0 is within the interval" if low <= 0 <= high else "significant at 5 %"

    def rate(before: float, after: float) -> Cell:
        return Cell(f"{100 * (after - before):+.2f}", after - before)

    def count(name: str) -> Cell:
        change = getattr(other.words.total, name) - getattr(one.words.total, name)
        return Cell(_signed(change), change)

    word = other.words.total.rate - one.words.total.rate
    return [
        Cell("difference"),
        Cell(one.name),
        Cell(f"{100 * word:+.2f}", word, title=sure, strong=True),
        Cell(f"{100 * low:+.2f} to {100 * high:+.2f}", low, title=sure),
        *map(count, ("errors", "substitutions", "deletions", "insertions")),
        rate(one.characters.total.rate, other.characters.total.rate),
        rate(one.words.sentence_rate, other.words.sentence_rate),
        Cell("", math.nan),
        Cell("", math.nan),
    ]


def decoded_set(decoded: DecodedSet, listed: tuple[list[str], list[list[Cell]]]) -> dict[str, Any]:
    """The errors of one set by kind, speaker, word and symbol, its calibration and its utterances."""
    by_speaker = decoded.words.by_speaker
    highest = max((counts.rate for counts in by_speaker.values()), default=0) or 1.0
    sentences = Counter(decoded.words.speakers.values())
    counts_of = count_confusions(decoded.words.alignments.values())
    wrong = [(pair, n) for pair, n in counts_of.items() if pair.op != "C"]
    by_words = len({symbol for pair in counts_of for symbol in (pair.ref, pair.hyp)}) <= MAX_SYMBOLS + 1
    symbols = counts_of if by_words else count_confusions(decoded.characters.alignments.values())
    figure, left_out = symbol_matrix(symbols, "words" if by_words else "characters")
    confidences, correct = decoded.confidences()
    return {
        "name": decoded.name,
        "absent": first(decoded.words.missing) if decoded.words.missing else "",
        "kinds": [("words", decoded.words.total), ("characters", decoded.characters.total)],
        "speakers": [
            [Cell(name), Cell(percent(c.rate), c.rate, min(1.0, c.rate / highest) if math.isfinite(c.rate) else 1.0),
             Cell(f"{c.errors} / {c.ref}", c.errors), Cell(str(sentences[name]), sentences[name])]
            for name, c in sorted(by_speaker.items(), key=lambda item: (-item[1].rate, item[0]))
        ],
        "word_errors": sorted(wrong, key=lambda item: (-item[1], item[0]))[:MAX_WORDS],
        "word_error_count": len(wrong),
        "unit": "Words" if by_words else "Characters",
        "symbols": figure,
        "symbols_left_out": left_out,
        "reliability": reliability_diagram(reliability(confidences, correct), "Reliability diagram") if len(correct)
        else None,
        "ece": expected_calibration_error(confidences, correct) if len(correct) else math.nan,
        "listed": listed,
        "count": len(decoded.words.by_utterance),
    }  # fmt: skip


def utterance_table(
    pair: Sequence[DecodedSet], *, live: bool, opens: Sequence[str] = ()
) -> tuple[list[str], list[list[Cell]]]:
    """The heading and a row for each utterance, worst first. live: all can be opened; else those of ``opens``."""
    decoded, others = pair[0], pair[1:]
    head = ["utterance", "speaker", "words", "errors", *(["other errors", "change"] if others else []), "WER"]
    head += ["confidence", *(["label score"] if live else []), "reference", "recognized"]
    rows = []
    for utt_id in decoded.worst_first()[:MAX_ROWS]:
        counts, alignment = decoded.words.by_utterance[utt_id], decoded.words.alignments[utt_id]
        words = decoded.timed.get(utt_id, ())
        confidence = sum(word.confidence for word in words) / len(words) if words else math.nan
        found = decoded.utterances.get(utt_id)
        row = [
            Cell(utt_id, key=f"{decoded.name}/{utt_id}" if live or utt_id in opens else ""),
            Cell(found.speaker if found else decoded.words.speakers.get(utt_id, "")),
            Cell(str(counts.ref), counts.ref),
            Cell(str(counts.errors), counts.errors),
        ]
        for other in others:
            errors = other.words.by_utterance[utt_id].errors if utt_id in other.words.by_utterance else None
            change = None if errors is None else errors - counts.errors
            row += [Cell("" if errors is None else str(errors), errors)]
            row += [Cell("" if change is None else _signed(change), change)]
        row += [Cell(percent(counts.rate, 0), counts.rate), Cell(_number(confidence, 2), confidence)]
        row += [Cell("", math.nan)] if live else []
        row += [Cell(" ".join(filter(None, (getattr(p, side) for p in alignment)))) for side in ("ref", "hyp")]
        rows.append(row)
    return head, rows


def symbol_matrix(counts: Mapping[Pair, int], unit: str) -> tuple[Figure, int]:
    """The confusions of the symbols with the most errors, and how many of those with errors were left out."""
    errors: Counter[str] = Counter()
    for pair, count in counts.items():
        for symbol in {pair.ref, pair.hyp} - {""}:
            errors[symbol] += count if pair.op != "C" else 0
    worst = sorted(errors, key=lambda symbol: (-errors[symbol], symbol))[:MAX_SYMBOLS]
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

    figure = confusion_matrix(table, labels, f"Confusions of {unit}", tooltip, totals=totals, show_right=False)
    return figure, len(errors) - len(worst)


def _signed(change: int) -> str:
    return f"{change:+d}" if change else "0"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "\N{EN DASH}"
