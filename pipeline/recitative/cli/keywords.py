"""``recitative keywords``: spot them in recordings, tune their thresholds, score them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative import pretrained
from recitative.asr.kind import RECOGNIZER
from recitative.atomic import json_text
from recitative.classification.classifier import CLASSIFIER
from recitative.cli.options import (
    RECOGNIZERS,
    ChannelOption,
    Failures,
    InputsArgument,
    JobsOption,
    PartialOption,
    Record,
    choose_channels,
    complete,
    expand_options,
    files_bar,
    find_model,
    open_classifier,
    open_transcriber,
    opening,
    print_note,
    print_warnings,
    processes_for,
)
from recitative.errors import UsageError, counted
from recitative.kinds import kind_of
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from pydantic import BaseModel

    from recitative.asr.recognizer import Recognizer
    from recitative.asr.stream import DecodedNetwork
    from recitative.decoding.hotwords import Phrase
    from recitative.keywords.search import DetectionDecoder
    from recitative.keywords.spotter import SearchedSet, Spotted
    from recitative.score.classification import DetectionCounts

SPOTTING_MODEL_HELP = (
    "A recognizer, which finds any phrase, or a classifier trained with model.pooling=recent, which finds its labels: "
    "a pretrained model's name, a model folder such as EXP/model, or an exported file."
)

KeywordsOption = Annotated[
    str,
    typer.Option(
        "--keywords",
        help="Keywords: 'yes, turn left:0.9, word=PH PH' (threshold, phones), or a file with one per line. "
        "For a classifier: labels.",
    ),
]
ThresholdsOption = Annotated[
    Path | None, typer.Option("--thresholds", help="File of confidence thresholds from 'recitative keywords tune'.")
]
WithinOption = Annotated[
    bool, typer.Option("--within-words", help="Also find keywords inside words ('yes' in 'yesterday').")
]


def read_keywords(text: str) -> list[Phrase]:
    """Keywords of the command line, or of a file. Raises UsageError, DataError."""
    from recitative.decoding.hotwords import read_phrases
    from recitative.keywords.spotter import KIND, parse_keywords, require_keywords

    if text and os.path.isfile(text):  # Path.is_file fails on a list longer than any name
        return require_keywords(read_phrases(Path(text), KIND))
    if text.endswith((".txt", ".list")) or os.sep in text:
        raise UsageError(f"--keywords {text}: no such file; correct the path, or give the words themselves")
    return parse_keywords(text)


def read_thresholds(path: Path | None, model: Path, phrases: Sequence[Phrase]) -> Mapping[str, float]:
    """Thresholds for phrases that have none. Empty without a file. Raises DataError for a file that does not fit,
    UsageError if no phrase needs it."""
    from recitative.keywords.spotter import KeywordThresholds

    if path is None:
        return {}
    if all(phrase.number is not None for phrase in phrases):
        raise UsageError(f"--thresholds {path}: all keywords have a threshold of their own; leave the file out")
    found = KeywordThresholds.read(path)
    found.require(path, model, [phrase.text for phrase in phrases if phrase.number is None])
    return found.thresholds


@dataclass(frozen=True)
class SpottingOptions:
    """Keywords to find; worker processes unpickle it."""

    keywords: str
    thresholds: Path | None = None
    within_words: bool = False

    def open(self, model: Path) -> DecodedNetwork:
        """Open a model that finds the keywords. Raises UsageError, DataError."""
        phrases = read_keywords(self.keywords)
        thresholds = read_thresholds(self.thresholds, model, phrases)
        return open_spotting(model, phrases, thresholds, within_words=self.within_words)[0]


def open_spotting(
    model: Path, phrases: Sequence[Phrase], thresholds: Mapping[str, float] | None = None, *, within_words: bool = False
) -> tuple[DecodedNetwork, DetectionDecoder[Any]]:
    """A model that finds keywords, and its decoder. Raises DataError, and UsageError for a classifier within words."""
    from recitative.keywords.spotter import label_decoder, phrase_decoder, with_keywords

    if kind_of(model, [RECOGNIZER, CLASSIFIER]) is CLASSIFIER:
        if within_words:
            raise UsageError("--within-words: only for recognizers, not for a classifier; leave it out")
        classifier = open_classifier(model)
        labels = label_decoder(classifier, phrases, thresholds)
        return with_keywords(classifier, labels), labels
    transcriber = open_transcriber(model)
    decoder = phrase_decoder(transcriber, phrases, thresholds, within_words=within_words)
    return with_keywords(transcriber, decoder), decoder


def open_spotting_recognizer(model: Path, options: SpottingOptions) -> Recognizer:
    """At module level, so that worker processes can unpickle it."""
    from recitative.asr.recognizer import Recognizer

    return Recognizer(options.open(model), pretrained.name_of(model))


app = typer.Typer(
    name="keywords", no_args_is_help=True, help="Find keywords in recordings; tune thresholds and score them."
)


@app.command()
def spot(
    inputs: InputsArgument,
    keywords: KeywordsOption,
    model: Annotated[str, typer.Option(help=SPOTTING_MODEL_HELP, autocompletion=complete(*RECOGNIZERS))] = "",
    thresholds: ThresholdsOption = None,
    within_words: WithinOption = False,
    format: Annotated[
        Literal["text", "jsonl"],
        typer.Option(help="text: file, start, end, keyword, confidence; jsonl: one detection per line."),
    ] = "text",
    channel: ChannelOption = "mix",
    partial_: PartialOption = False,
    jobs: JobsOption = 0,
) -> None:
    """Find keywords in recordings, with times and confidences.

    A recognizer finds any phrase. Unreadable files are reported and skipped; the exit status is then 1.

    \b
    recitative keywords spot calls/ --keywords 'enter, new york:0.8'
    recitative keywords spot talk.wav --keywords words.txt --thresholds thresholds.json --format jsonl
    """
    from recitative.asr.recognizer import transcribe_files
    from recitative.audio.files import expand
    from recitative.keywords.spotter import Spotted
    from recitative.model.stream import document

    files, channels = choose_channels(expand(inputs, print_note), channel, partial_)
    path = find_model(model)
    open_model = partial(open_spotting_recognizer, path, SpottingOptions(keywords, thresholds, within_words))
    with opening(path):
        recognizer = open_model()
    failures = Failures(len(files), "could not be searched")
    with files_bar("spot", files) as show:
        outcomes = transcribe_files(
            files, recognizer, processes_for(files, channels, jobs), open_again=open_model, partial_ok=partial_,
            channels=channels, progress=show,
        )  # fmt: skip
        for outcome in outcomes:
            if outcome.transcript is None:
                failures.add(outcome.error)
                continue
            for found in map(Spotted.of, outcome.transcript.words):
                if format == "text":
                    print(f"{outcome.file}\t{format_detection(found)}")
                else:
                    print(json_text(document(recognizer.name, {"file": outcome.file}, found.to_dict())))
            sys.stdout.flush()
            print_warnings(outcome.file, outcome.transcript)
    failures.finish()


def format_detection(found: Spotted) -> str:
    """Start and end in seconds, keyword, confidence."""
    return f"{found.start_s:.2f}\t{found.end_s:.2f}\t{found.keyword}\t{found.confidence:.3f}"


DataArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA",
        help="Data directories with transcripts. words.ctm in a directory gives the word times.",
    ),
]


@app.command()
def tune(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help=SPOTTING_MODEL_HELP, autocompletion=complete(*RECOGNIZERS))
    ],
    data: DataArgument,
    keywords: KeywordsOption,
    output: Annotated[Path, typer.Option(help="File of thresholds to write, for 'keywords spot' and 'listen'.")],
    false_alarms_per_hour: Annotated[float, typer.Option(help="Maximum false alarms per hour and keyword.")] = 1.0,
    within_words: WithinOption = False,
) -> None:
    """Choose the threshold of each keyword: fewest misses within a limit of false alarms per hour.

    Use data that the model was not trained on.

    \b
    recitative keywords tune model.onnx data/dev --keywords words.txt --output thresholds.json
    recitative keywords tune en data/dev --keywords 'enter, new york' --false-alarms-per-hour 0.5 --output t.json
    """
    from recitative.keywords.spotter import KeywordThresholds, fingerprint, tune_thresholds

    if not false_alarms_per_hour >= 0:
        raise UsageError(f"--false-alarms-per-hour {false_alarms_per_hour:g}: must be 0 or more")
    path, phrases = find_model(model), read_keywords(keywords)
    if numbered := [phrase.text for phrase in phrases if phrase.number is not None]:
        print_note(f"warning: 'keywords tune' chooses the thresholds; those given are not used: {', '.join(numbered)}")
    _, found = _search(path, data, phrases, within_words)
    tuned = tune_thresholds(found, false_alarms_per_hour)
    by_keyword = {one.keyword: one.threshold for one in tuned}
    folders = " ".join(map(str, data))
    thresholds = KeywordThresholds(fingerprint(path), folders, round(found.hours, 4), false_alarms_per_hour, by_keyword)
    thresholds.write(output)
    _print_table([(one.keyword, one.threshold, one.detections) for one in tuned])
    for one in tuned:
        if not one.within_limit:
            print_note(f"warning: keyword '{one.keyword}': no threshold keeps that rate")
        if not one.detections.occurrences:
            print_note(f"warning: keyword '{one.keyword}': does not occur in {folders}")
    print_note(f"{output}: {counted(len(tuned), 'threshold')}, from {found.hours:.2f} h of audio")


@app.command()
@expand_options
def score(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help=SPOTTING_MODEL_HELP, autocompletion=complete(*RECOGNIZERS))
    ],
    data: DataArgument,
    record: Record,
    keywords: KeywordsOption,
    output: Annotated[Path, typer.Option(help="Folder for keywords.json and the DET curve det.svg.")],
    thresholds: ThresholdsOption = None,
    within_words: WithinOption = False,
) -> None:
    """Print misses and false alarms per hour of each keyword, and write the DET curve (Martin et al. 1997).

    \b
    recitative keywords score model.onnx data/test --keywords words.txt --thresholds thresholds.json --output exp/test
    recitative keywords score en data/test --keywords 'enter, new york' --output exp/test
    """
    from recitative.keywords.spotter import SpottingScores, thresholds_of

    started = time.perf_counter()
    path = find_model(model)
    phrases = read_keywords(keywords)
    tuned = read_thresholds(thresholds, path, phrases)
    settings, found = _search(path, data, phrases, within_words)
    bars = thresholds_of(phrases, tuned)
    scores = SpottingScores.of(found, bars)
    scores.write(output, f"{', '.join(map(str, data))}: {counted(len(phrases), 'keyword')}, {found.hours:.2f} h")
    record.write(scores.together.measured(), settings, time.perf_counter() - started)
    _print_table([*zip(scores.keywords, bars, scores.counts, strict=True), ("all", None, scores.together)])


def _search(
    model: Path, data: Sequence[Path], phrases: Sequence[Phrase], within_words: bool
) -> tuple[BaseModel, SearchedSet]:
    """The settings of the model, and all detections that any threshold may keep."""
    from recitative.keywords.spotter import search_directories
    from recitative.score.classification import LEVELS

    open_phrases = [replace(phrase, number=LEVELS[0]) for phrase in phrases]
    with opening(model):
        network, decoder = open_spotting(model, open_phrases, within_words=within_words)
    with progress_bar("keywords") as show:
        return network.settings, search_directories(network, decoder, data, show)


def _print_table(rows: Sequence[tuple[str, float | None, DetectionCounts]]) -> None:
    width = max(len(name) for name, _, _ in rows)
    print(f"{'keyword':<{max(width, 7)}}  threshold  said  missed  false alarms  per hour")
    for name, threshold, counts in rows:
        bar = "" if threshold is None else f"{threshold:.3f}"
        missed = f"{counts.missed:>4} {counts.miss_rate:>6.1%}" if counts.occurrences else f"{'-':>11}"
        print(
            f"{name:<{max(width, 7)}}  {bar:>9}  {counts.occurrences:>4} {missed}  {counts.false_alarms:>8}  "
            f"{counts.per_hour:>8.2f}"
        )
