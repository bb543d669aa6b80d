"""``recitative decode``, ``tune``, ``rescore``, ``align`` and ``average``: recognizers on data directories."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.atomic import one_writer_of_model, write_text, writes
from recitative.cli.models import (
    MODEL_HELP,
    DecodingArguments,
    complete_model,
    find_model,
    open_lm,
    open_transcriber,
    warn_of_unknown,
)
from recitative.cli.options import EngineOptions, Without, expand_options, print_note
from recitative.errors import UsageError
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from recitative.asr.alignment import AlignSummary
    from recitative.asr.recognizer import DecodeSummary
    from recitative.asr.stream import Transcriber
    from recitative.asr.tuning import Tuned


@expand_options
def decode(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, autocompletion=complete_model)],
    data_dir: Annotated[Path, typer.Argument(help="Data directory to decode.")],
    output: Annotated[Path, typer.Option(help="Output folder.")],
    options: DecodingArguments,
    engine: Annotated[EngineOptions, Without("jobs")],
    chunk_ms: Annotated[
        float | None, typer.Option(min=1, help="Process audio in chunks of this length, as in live use.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=0, help="Number of processes. 0: one per core. Default: 1; on a cluster 0."),
    ] = None,
) -> None:
    """Decode a data directory, to score the text.

    --output gets text, words.jsonl (times and confidences), tokens.jsonl and, with --nbest, nbest.jsonl.

    \b
    recitative decode exp/lstm/model data/test --output exp/lstm/decode_test
    """
    from recitative.asr.recognizer import decode_directory

    if jobs is None:
        jobs = 0 if engine.engine == "ray" else 1
    path = find_model(model)
    transcriber = _open_on_one_thread(path, options)
    with progress_bar("decode") as show:
        summary = decode_directory(
            transcriber, data_dir, output, chunk_ms=chunk_ms,
            engine=dataclasses.replace(engine, jobs=jobs).to_engine(),
            open_again=partial(_open_on_one_thread, path, options, warns=False), advance=show,
        )  # fmt: skip
    write_text(output / "model", f"{model}\n")  # for 'recitative report' and 'explore'
    _print_summary(summary, output)


def _open_on_one_thread(model: Path, options: DecodingArguments, warns: bool = True) -> Transcriber:
    """On one thread in every process: the number of threads changes the order of sums, and so the last digits."""
    if model.is_dir():
        import torch

        torch.set_num_threads(1)
    return open_transcriber(model, options, warns=warns)


def _print_summary(summary: DecodeSummary | AlignSummary, output: Path) -> None:
    print(
        f"{output}: {summary.utterances} utterances, {summary.audio_s:.0f} s of audio in {summary.seconds:.1f} s, "
        f"{summary.audio_s / max(summary.seconds, 1e-9):.0f} x real time"
    )


@writes("model", one_writer_of_model)
def tune(
    model: Annotated[Path, typer.Argument(help="Model folder such as exp/lstm/model.")],
    dev: Annotated[Path, typer.Argument(help="Data directory of the dev set, never the test set.")],
    lm: Annotated[
        Path | None,
        typer.Option(help="n-gram model, ARPA or packed, to store in the model. Default: the one it has."),
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon to store in the model; only its words are recognized.")
    ] = None,
) -> None:
    """Select the weights of language model, words and priors on a dev set, and calibrate the confidences.

    All is stored in the model and exported with it.

    \b
    recitative tune exp/lstm/model data/dev --lm data/lm.arpa
    """
    from recitative.asr.kind import RECOGNIZER
    from recitative.asr.network import new_transcriber
    from recitative.asr.tuning import network_outputs
    from recitative.asr.tuning import tune as tune_decoding
    from recitative.model.folder import load_model, save_model
    from recitative.text.lexicon import Lexicon

    recognizer = load_model(model, RECOGNIZER)
    language = recognizer.language
    if lexicon:
        language = dataclasses.replace(language, lexicon=Lexicon.read(lexicon, recognizer.tokens))
    if lm:
        language = language.with_lm(lm)
        assert language.lm, "it has just been read"
        warn_of_unknown(language.lm, language.lexicon, str(lm))
    transcriber = new_transcriber(recognizer)
    with progress_bar("run the network on dev") as show:
        outputs = network_outputs(transcriber, dev, show)
    with progress_bar("try weights") as show:
        tuned = tune_decoding(transcriber, language, outputs, show)
    settings = recognizer.settings.model_copy(update={"decode": tuned.settings})
    save_model(dataclasses.replace(recognizer, settings=settings, language=tuned.language), model)
    _print_trials(tuned)
    print(
        f"{model}: lm_weight {tuned.settings.lm_weight:g}, word_bonus {tuned.settings.word_bonus:g}, "
        f"prior_weight {tuned.settings.prior_weight:g} stored"
    )


def _print_trials(tuned: Tuned) -> None:
    """Print a table of error rates: one row per weight, one column per word bonus."""
    weights = sorted({weight for weight, _ in tuned.trials})
    bonuses = sorted({bonus for _, bonus in tuned.trials})
    print("dev WER %   word bonus " + "".join(f"{bonus:>8g}" for bonus in bonuses))
    for weight in weights:
        cells = ""
        for bonus in bonuses:
            mark = "*" if (weight, bonus) == (tuned.settings.lm_weight, tuned.settings.word_bonus) else " "
            cells += f"{100 * tuned.trials[weight, bonus].rate:7.2f}{mark}"
        print(f"lm weight {weight:>5g}         {cells}")
    tried = "".join(
        f"{prior:>8g}: {100 * errors.rate:.2f}{'*' if prior == tuned.settings.prior_weight else ' '}"
        for prior, errors in tuned.prior_trials.items()
    )
    print(f"prior weight {tried}")
    print(f"without language model {100 * tuned.without_lm.rate:.2f} %, chosen (*) {100 * tuned.chosen.rate:.2f} %")
    print(f"expected calibration error of confidences: {tuned.ece_before:.3f} before, {tuned.ece_after:.3f} after")


def rescore(
    data_dir: Annotated[Path, typer.Argument(help="Data directory that was decoded.")],
    nbest: Annotated[Path, typer.Argument(help="nbest.jsonl from 'recitative decode --nbest 20'.")],
    output: Annotated[Path, typer.Option(help="Output folder.")],
    dev: Annotated[Path, typer.Option(help="Data directory of the dev set, which selects the weights.")],
    dev_nbest: Annotated[Path, typer.Option(help="nbest.jsonl of the dev set.")],
    model: Annotated[Path | None, typer.Option(help="Model folder with an attention decoder.")] = None,
    lm: Annotated[Path | None, typer.Option(help="Recurrent language model.")] = None,
) -> None:
    """Rescore n-best lists with an attention decoder or a recurrent language model.

    \b
    recitative rescore data/test exp/lstm/decode_test/nbest.jsonl --lm exp/rnnlm/model \\
      --dev data/dev --dev-nbest exp/lstm/decode_dev/nbest.jsonl --output exp/lstm/rescored
    """
    from recitative.asr import tuning as lists
    from recitative.asr.kind import RECOGNIZER
    from recitative.model.folder import load_model

    if not (model or lm):
        raise UsageError("nothing to rescore with: give --model (attention), --lm, or both")
    recognizer = load_model(model, RECOGNIZER) if model else None
    scorer = open_lm(lm) if lm else None
    if scorer is not None and not isinstance(scorer, lists.TextScorer):
        raise UsageError(f"--lm {lm}: is an n-gram model; use it in decoding, with 'decode --lm'")
    scored = []
    for name, folder, path in (("dev", dev, dev_nbest), (data_dir.name, data_dir, nbest)):
        with progress_bar(f"rescore {name}") as show:
            scored.append(lists.add_scores(lists.read_nbest(path), folder, recognizer, scorer, show))
    on_dev, to_rescore = scored
    refs = lists.refs_of(dev)
    with progress_bar("try weights"):
        weights, trials = lists.tune_weights(on_dev, refs, attention=model is not None, lm=lm is not None)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "text", lists.to_text(lists.best_texts(to_rescore, weights)))
    before, oracle = trials[lists.Weights()], lists.oracle_errors(on_dev, refs)
    print(f"dev WER: {100 * before.rate:.2f} % before, {100 * trials[weights].rate:.2f} % after, ", end="")
    print(f"{100 * oracle.rate:.2f} % with the best choice from every list")
    print(f"{output}/text: weight of attention {weights.attention:g}, of the language model {weights.language:g}")


SHOWN_FAILED = 20  # utterances printed on the terminal; the file 'failed' has all


def align(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, autocompletion=complete_model)],
    data_dir: Annotated[Path, typer.Argument(help="Data directory with transcripts.")],
    output: Annotated[Path, typer.Option(help="Folder for words.ctm, TextGrids and alignment.jsonl.")],
    format: Annotated[
        list[str] | None,
        typer.Option(help="ctm: words; textgrid: one file per utterance for Praat; json. Default: all."),
    ] = None,
) -> None:
    """Align transcripts with recordings: times of words and tokens.

    Utterances that cannot be aligned are reported and skipped; the exit status is then 1.

    \b
    recitative align exp/lstm/model data/test --output exp/lstm/aligned --format ctm
    """
    from recitative.asr.alignment import FORMATS, align_directory

    if unknown := [name for name in format or () if name not in FORMATS]:
        raise UsageError(f"--format {unknown[0]}: is no format; choose from {', '.join(FORMATS)}")
    formats = [form for form in FORMATS if not format or form in format]
    transcriber = open_transcriber(find_model(model))
    with progress_bar("align") as show:
        summary = align_directory(transcriber, data_dir, output, formats=formats, advance=show)
    _print_summary(summary, output)
    if summary.failed:
        for problem in summary.failed[:SHOWN_FAILED]:
            print_note(f"error: {problem}")
        count, total = len(summary.failed), len(summary.failed) + summary.utterances
        more = f", the others are in {output}/failed" if count > SHOWN_FAILED else ""
        print_note(f"{count} of {total} utterances could not be aligned{more}")
        raise typer.Exit(1)


def average(
    exp: Annotated[Path, typer.Argument(help="Experiment folder of 'recitative train'.")],
    last: Annotated[
        bool, typer.Option("--last", help="Take the end of the run instead; with train.ema, the moving average there.")
    ] = False,
) -> None:
    """Average the weights of the best epochs.

    Averages of the best 1, 2, ... epochs are tried on the dev set, without a language model. The one with the lowest
    WER, or phone error rate of a model of phones, becomes EXP/model.

    \b
    recitative average exp/lstm
    recitative average exp/lstm --last
    """
    from recitative.asr.task import average_best, take_last

    if last:
        print(f"step {take_last(exp)}: {exp / 'model'}: written")
        return
    with progress_bar("score averages on dev") as show:
        result = average_best(exp, show)
    for n, rates in result.tried.items():
        mark = "  <- chosen" if n == result.chosen else ""
        shown = ", ".join(f"{name.removeprefix('dev_').upper()} {100 * rate:.2f} %" for name, rate in rates.items())
        print(f"best {n:2d} epochs: dev {shown}{mark}")
    print(f"{exp / 'model'}: written")
