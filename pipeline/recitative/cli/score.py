"""recitative score: error rates of hypotheses beside their references."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_text
from recitative.data.directory import read_transcripts
from recitative.errors import DataError, UsageError
from recitative.machine import describe_machine
from recitative.reading import read_text
from recitative.score.calibration import WordQuality, measure_words, read_timed_words
from recitative.score.results import ResultRow, describe_commit, record, settings_hash
from recitative.score.wer import DirectoryScores, score_directory
from recitative.text.lexicon import Lexicon, spelling_of
from recitative.text.tokens import TokenTable

SHOWN_MISSING = 20  # utterances named on the terminal; the file 'missing' has all


def score(
    data_dir: Annotated[Path, typer.Argument(help="Data directory with text and utt2spk.")],
    hyp_text: Annotated[Path, typer.Argument(help="Hypotheses, one 'utterance words...' line each.")],
    output: Annotated[Path, typer.Option(help="Folder for alignments, the table of speakers and confusions.")],
    results: Annotated[Path | None, typer.Option(help="JSON-lines file that gets one row a number.")] = None,
    results_md: Annotated[Path | None, typer.Option(help="Markdown table of all results to write.")] = None,
    name: Annotated[str, typer.Option("--model", help="Name of the model in the results.")] = "",
    set_name: Annotated[str, typer.Option("--set", help="Name of the test set in the results.")] = "",
    decoding: Annotated[str, typer.Option(help="How the text was decoded.")] = "greedy",
    command: Annotated[str, typer.Option(help="The command that made the hypotheses.")] = "-",
    settings: Annotated[Path | None, typer.Option(help="Settings file whose hash goes into the results.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall-clock time of decoding.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="words.jsonl of the decoding: its confidences are scored too.")
    ] = None,
    aligned: Annotated[
        Path | None, typer.Option(help="alignment.jsonl of the transcripts: with --words, their times are scored too.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="The token table of 'decode --greedy': its tokens are counted, not words.")
    ] = None,
    lexicon: Annotated[Path | None, typer.Option(help="With --tokens that are phones: how words sound.")] = None,
    train_seconds: Annotated[float | None, typer.Option(help="Wall-clock time of training: a row of its own.")] = None,
) -> None:
    """Print %WER, %CER and %SER; write per-utterance alignments, the table of speakers and confusions to --output.

    With --results (and --results-md), the three numbers also go into the recipe's results, in the place of older ones
    of the same model, set and decoding.
    """
    if results_md and not results:
        raise UsageError("--results-md shows the rows of --results; give both")
    if results and not (name and set_name):
        raise UsageError("--results needs --model and --set: rows are found by them")
    if aligned and not words:
        raise UsageError("--aligned has the true times; the times of --words are compared with them: give both")
    settings_text = _read_settings(settings)
    if lexicon and not tokens:
        raise UsageError("--lexicon: its phones are those of a token table; give --tokens too")
    table = TokenTable.read(tokens) if tokens else None
    spelling = spelling_of(table, Lexicon.read(lexicon, table) if lexicon else None) if table else None
    scores = score_directory(data_dir, hyp_text, output, spelling, table.unit if table else "")
    quality = _score_words(data_dir, words, aligned, output) if words else None
    if results:
        origin = ResultRow(
            name, set_name, decoding, "", math.nan, "", command, describe_commit(Path.cwd()), settings_text, seconds,
            describe_machine(),
        )  # fmt: skip
        rows = [*scores.rows(origin), *(quality.rows(origin) if quality else [])]
        record([*rows, *_training_rows(origin, train_seconds)], results, results_md)
    _print(scores, output)
    if quality:
        typer.echo(quality.summary())


def _score_words(data_dir: Path, words: Path, aligned: Path | None, output: Path) -> WordQuality:
    """Also writes ``output/reliability``."""
    refs = {row.key: row.value for row in read_transcripts(data_dir)}
    true = read_timed_words(aligned) if aligned else None
    quality = measure_words(refs, read_timed_words(words), true)
    write_text(output / "reliability", quality.table)
    return quality


def _training_rows(origin: ResultRow, seconds: float | None) -> list[ResultRow]:
    if seconds is None:
        return []
    cost = {"set": "train", "decoding": "-", "metric": "minutes", "value": round(seconds / 60, 2), "counts": "-"}
    return [dataclasses.replace(origin, **cost, seconds=seconds)]  # type: ignore[arg-type]


def _read_settings(path: Path | None) -> str:
    try:
        return settings_hash(read_text(path, "a settings file")) if path else "-"
    except DataError as error:
        raise UsageError(f"--settings {error}") from None


def _print(scores: DirectoryScores, output: Path) -> None:
    lines = scores.summary().splitlines()
    typer.echo("\n".join(lines[:3]))
    typer.echo("\n".join(lines[3:]), err=True)
    missing = scores.words.missing
    if missing:
        more = f" and {len(missing) - SHOWN_MISSING} more, see {output}/missing" if len(missing) > SHOWN_MISSING else ""
        names = ", ".join(missing[:SHOWN_MISSING])
        typer.echo(f"warning: no hypothesis, counted as all deleted: {names}{more}", err=True)
