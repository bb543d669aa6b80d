"""``recitative decode``, ``tune``, ``rescore``, ``align`` and ``average``: recognizers on data directories."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recitative.atomic import write_text
from recitative.cli import decoding
from recitative.cli.decoding import warn_of_unknown
from recitative.cli.models import MODEL_HELP, find_model, open_lm, open_transcriber
from recitative.cli.options import AddressOption, EngineOption, new_engine
from recitative.errors import UsageError
from recitative.lock import one_writer_of_model, writes
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from recitative.asr.stream import Transcriber


def decode(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    data_dir: Annotated[Path, typer.Argument(help="Data directory to decode.")],
    output: Annotated[Path, typer.Option(help="Output folder.")],
    chunk_ms: Annotated[
        float | None, typer.Option(min=1, help="Process audio in chunks of this length, as in live use.")
    ] = None,
    lm: decoding.LmOption = "",
    hotwords: decoding.HotWordsOption = "",
    grammar: decoding.GrammarOption = None,
    lexicon: decoding.LexiconOption = None,
    nbest: decoding.NbestOption = 1,
    beam: decoding.BeamOption = 0,
    greedy: decoding.GreedyOption = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=0, help="Number of processes. 0: one per core. Default: 1; on a cluster 0."),
    ] = None,
    engine: EngineOption = "local",
    address: AddressOption = "",
) -> None:
    """Decode a data directory, to score the text.

    --output gets text, words.jsonl (times and confidences), tokens.jsonl and, with --nbest, nbest.jsonl.

    \b
    recitative decode exp/lstm/model data/test --output exp/lstm/decode_test
    """
    from recitative.asr.recognizer import decode_directory

    options = decoding.DecodingArguments(lm, hotwords, grammar, lexicon, nbest, beam, greedy)
    workers = new_engine((0 if engine == "ray" else 1) if jobs is None else jobs, engine, address)
    path = find_model(model)
    transcriber = _open(path, options)
    with progress_bar("decode") as show:
        summary = decode_directory(
            transcriber,
            data_dir,
            output,
            chunk_ms=chunk_ms,
            engine=workers,
            open_again=partial(_open, path, options, warns=False),
            advance=show,
        )
    speed = summary.audio_s / max(summary.seconds, 1e-9)
    print(
        f"{output}: {summary.utterances} utterances, {summary.audio_s:.0f} s of audio in {summary.seconds:.1f} s, "
        f"{speed:.0f} x real time"
    )


def _open(model: Path, options: decoding.DecodingArguments, warns: bool = True) -> Transcriber:
    """On one thread, in every process: threads and their number change the order of sums, and so last digits."""
    if model.is_dir():
        import torch

        torch.set_num_threads(1)
    return open_transcriber(model, options, warns=warns)


# ``recitative tune``: language model weight, word bonus and calibration of a model, on a dev set.

if TYPE_CHECKING:
    from recitative.asr.tuning import Tuned


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
    """Select language model weight and word bonus on a dev set, and calibrate the confidences.

    All is stored in the model and exported with it.

    \b
    recitative tune exp/lstm/model data/dev --lm data/lm.arpa
    """
    import dataclasses

    from recitative.asr.network import new_transcriber
    from recitative.asr.recognizer_kind import RECOGNIZER
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
    with progress_bar("listen to dev") as show:
        heard = network_outputs(transcriber, dev, show)
    with progress_bar("try weights") as show:
        tuned = tune_decoding(transcriber, language, heard, show)
    settings = recognizer.settings.model_copy(update={"decode": tuned.settings})
    save_model(dataclasses.replace(recognizer, settings=settings, language=tuned.language), model)
    _print(tuned, model)


def _print(tuned: Tuned, model: Path) -> None:
    """The table of error rates: a row for each weight, a column for each word bonus."""
    weights = sorted({weight for weight, _ in tuned.trials})
    bonuses = sorted({bonus for _, bonus in tuned.trials})
    print("dev WER %   word bonus " + "".join(f"{bonus:>8g}" for bonus in bonuses))
    for weight in weights:
        cells = ""
        for bonus in bonuses:
            mark = "*" if (weight, bonus) == (tuned.settings.lm_weight, tuned.settings.word_bonus) else " "
            cells += f"{100 * tuned.trials[weight, bonus].rate:7.2f}{mark}"
        print(f"lm weight {weight:>5g}         {cells}")
    print(f"without language model {100 * tuned.without_lm.rate:.2f} %, chosen (*) {100 * tuned.chosen.rate:.2f} %")
    print(f"expected calibration error of confidences: {tuned.ece_before:.3f} before, {tuned.ece_after:.3f} after")
    print(f"{model}: lm_weight {tuned.settings.lm_weight:g}, word_bonus {tuned.settings.word_bonus:g} stored")


# ``recitative rescore``: choose anew among the n best of a beam search, with attention or a recurrent model.


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
    from recitative.asr.recognizer_kind import RECOGNIZER
    from recitative.model.folder import load_model

    if not (model or lm):
        raise UsageError("nothing to rescore with: give --model (attention), --lm, or both")
    recognizer = load_model(model, RECOGNIZER) if model else None
    scorer = open_lm(lm) if lm else None
    if scorer is not None and not isinstance(scorer, lists.TextScorer):
        raise UsageError(f"--lm {lm}: is an n-gram model; it takes part in decoding itself, with 'decode --lm'")
    scored = []
    for name, folder, path in (("dev", dev, dev_nbest), (data_dir.name, data_dir, nbest)):
        with progress_bar(f"rescore {name}") as show:
            scored.append(lists.add_scores(lists.read_nbest(path), folder, recognizer, scorer, show))
    on_dev, wanted = scored
    refs = lists.refs_of(dev)
    weights, trials = lists.tune_weights(on_dev, refs, attention=model is not None, lm=lm is not None)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "text", lists.to_text(lists.best_texts(wanted, weights)))
    before, oracle = trials[lists.Weights()], lists.oracle_errors(on_dev, refs)
    print(f"dev WER: {100 * before.rate:.2f} % before, {100 * trials[weights].rate:.2f} % after, ", end="")
    print(f"{100 * oracle.rate:.2f} % with the best choice from every list")
    print(f"{output}/text: weight of attention {weights.attention:g}, of the language model {weights.language:g}")


# ``recitative align``: when each word of a data directory's transcripts is said.

if TYPE_CHECKING:
    from recitative.asr.alignment import AlignSummary, Format

SHOWN_FAILED = 20  # utterances named on the terminal; the file 'failed' has all


def align(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
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
    from recitative.asr.alignment import align_directory

    formats = _formats(format)
    transcriber = open_transcriber(find_model(model))
    with progress_bar("align") as show:
        summary = align_directory(transcriber, data_dir, output, formats=formats, advance=show)
    speed = summary.audio_s / max(summary.seconds, 1e-9)
    print(
        f"{output}: {summary.utterances} utterances, {summary.audio_s:.0f} s of audio in {summary.seconds:.1f} s, "
        f"{speed:.0f} x real time"
    )
    if summary.failed:
        _name_failed(summary, output)
        raise typer.Exit(1)


def _formats(names: list[str] | None) -> list[Format]:
    from recitative.asr.alignment import FORMATS

    unknown = [name for name in names or () if name not in FORMATS]
    if unknown:
        raise UsageError(f"--format {unknown[0]}: is no format; choose from {', '.join(FORMATS)}")
    return [form for form in FORMATS if not names or form in names]


def _name_failed(summary: AlignSummary, output: Path) -> None:
    for problem in summary.failed[:SHOWN_FAILED]:
        print(f"error: {problem}", file=sys.stderr)
    count, total = len(summary.failed), len(summary.failed) + summary.utterances
    more = f", the others are in {output}/failed" if count > SHOWN_FAILED else ""
    print(f"{count} of {total} utterances could not be aligned{more}", file=sys.stderr)


# ``recitative average``: make the model to decode with from a run's best epochs.


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
    result = average_best(exp)
    for n, rates in result.tried.items():
        mark = "  <- chosen" if n == result.chosen else ""
        shown = ", ".join(f"{name.removeprefix('dev_').upper()} {100 * rate:.2f} %" for name, rate in rates.items())
        print(f"best {n:2d} epochs: dev {shown}{mark}")
    print(f"{exp / 'model'}: written")
