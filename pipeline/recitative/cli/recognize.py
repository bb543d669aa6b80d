"""``recitative transcribe``, ``decode``, ``tune``, ``rescore``, ``align`` and ``average``: recognizers on recordings
and data directories.
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from recitative.atomic import one_writer_of_model, write_text, writes
from recitative.cli.options import (
    MODEL_HELP,
    RECOGNIZERS,
    ChannelOption,
    DecodingArguments,
    EngineOptions,
    Failures,
    InputsArgument,
    JobsOption,
    PartialOption,
    TextOption,
    Without,
    choose_channels,
    choose_text,
    complete,
    expand_options,
    files_bar,
    find_model,
    open_lm,
    open_recognizer,
    open_transcriber,
    opening,
    print_note,
    print_warnings,
    processes_for,
    require_folder,
    warn_of_unknown,
)
from recitative.cli.start import INTERRUPTED
from recitative.errors import UsageError, counted
from recitative.terminal import progress_bar

if TYPE_CHECKING:
    from recitative.asr.alignment import AlignSummary
    from recitative.asr.recognizer import DecodeSummary
    from recitative.asr.stream import Transcriber
    from recitative.asr.transcript import Format, Segment, Transcript, Writer
    from recitative.asr.tuning import Tuned


@expand_options
def transcribe(
    inputs: InputsArgument,
    decoding: Annotated[DecodingArguments, Without("greedy")],
    model: Annotated[str, typer.Option(help=MODEL_HELP, autocompletion=complete(*RECOGNIZERS))] = "",
    format: Annotated[
        Literal[
            "text", "json", "jsonl", "srt", "vtt", "ctm", "tsv", "kaldi", "stm", "trn", "textgrid", "eaf", "audacity"
        ],
        typer.Option(
            help="text: file and text; json, jsonl, ctm, tsv: words with times; srt, vtt: subtitles; kaldi; stm, trn: "
            "for sclite; textgrid, eaf, audacity: annotations for Praat, ELAN and Audacity."
        ),
    ] = "text",
    output_dir: Annotated[
        Path | None, typer.Option(help="Write one file per recording to this folder, not all to stdout.")
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option("--streaming", help="Process audio in 160 ms chunks, as in live use. The text does not change."),
    ] = False,
    text: TextOption = None,
    channel: ChannelOption = "mix",
    partial_: PartialOption = False,
    jobs: JobsOption = 0,
) -> None:
    """Transcribe recordings.

    The output of a single recording grows while it is processed. Unreadable files are reported and skipped; the exit
    status is then 1.

    \b
    recitative transcribe talk.wav
    recitative transcribe calls/ --format srt --output-dir subtitles
    ffmpeg -i film.mkv -f wav - | recitative transcribe -
    """
    from recitative.asr.recognizer import BLOCK_S, STREAMING_BLOCK_S, transcribe_file, transcribe_files
    from recitative.asr.transcript import FORMATS, Segment
    from recitative.audio.files import expand

    files, channels = choose_channels(expand(inputs, print_note), channel, partial_)
    if not output_dir and FORMATS[format].single and len(files) > 1:
        raise UsageError(f"--format {format}: needs a file for each of {len(files)} recordings; add --output-dir")
    if decoding.nbest > 1 and format not in ("json", "jsonl"):
        raise UsageError(f"--nbest {decoding.nbest}: requires --format json or jsonl")
    path = find_model(model)
    text = choose_text(text, path, for_people=format in ("text", "srt", "vtt") and not decoding.grammar)
    with opening(path):
        recognizer = open_recognizer(path, decoding, text=text)
    if output_dir:
        require_folder(output_dir, "--output-dir")
    block_s = STREAMING_BLOCK_S if streaming else BLOCK_S
    failures = Failures(len(files), "could not be transcribed")
    with files_bar("transcribe", files) as show, _Output(output_dir, FORMATS[format], files, inputs) as output:
        if len(files) == 1:  # its segments come one by one
            outcomes = transcribe_file(
                files[0], recognizer, block_s=block_s, partial_ok=partial_, channel=channels.get(files[0]),
                progress=show,
            )  # fmt: skip
        else:
            outcomes = transcribe_files(
                files, recognizer, processes_for(files, channels, jobs), block_s=block_s, partial_ok=partial_,
                open_again=partial(open_recognizer, path, decoding, text=text, warns=False), channels=channels,
                progress=show,
            )  # fmt: skip
        for found in outcomes:
            if isinstance(found, Segment):
                output.add(found)
            elif found.transcript is None:
                output.stop()
                failures.add(found.error)
            else:
                with failures.catch(found.file) if output_dir else nullcontext():
                    output.end(found.file, found.transcript)
                print_warnings(found.file, found.transcript)
                warn_of_broken(found.file, found.transcript)
    failures.finish()


def warn_of_broken(file: str, transcript: Transcript) -> None:
    """Warn about segments of which no text fits the lexicon or the grammar."""
    if transcript.broken:
        first, more = transcript.broken[0], len(transcript.broken) - 1
        others = f" and {more} more" if more else ""
        place = f"{first.start_s:.1f} to {first.end_s:.1f} s{others}"
        print_note(f"warning: {file}: at {place} nothing whole fits the lexicon or grammar")


class _Output:
    """Writes transcripts to stdout, or each to a file of its own, atomically.

    The transcript of a single recording is written segment by segment, except in formats that need all of it (JSON),
    and stays if the rest fails or is interrupted.
    """

    def __init__(self, output_dir: Path | None, form: Format, files: list[str], inputs: list[str]) -> None:
        from recitative.cli.options import output_names, recording_ids

        self._output_dir, self._form = output_dir, form
        self._ids = recording_ids(files) if form.by_id else {}
        self._targets = output_names(files, inputs) if output_dir else {}
        self._between = ""
        self._growing: _Growing | None = None
        if len(files) == 1:
            start = form.alone if output_dir and form.alone else form.start
            head = form.head if output_dir and not form.alone else ""
            path = self._path(files[0]) if output_dir else None
            self._growing = _Growing(start(self._name(files[0])), path, head)

    def __enter__(self) -> _Output:
        if not self._output_dir:
            sys.stdout.write(self._form.head)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._growing:
            self._growing.close()
        if not self._output_dir:
            sys.stdout.write(self._form.tail)  # also after an interruption: it ends a JSON list
        if isinstance(error, KeyboardInterrupt) and self._growing and self._growing.heard_s:
            sys.stdout.flush()
            print(f"error: interrupted; {self._growing.extent}", file=sys.stderr)
            sys.exit(INTERRUPTED)

    def add(self, segment: Segment) -> None:
        """Write the next segment of a single recording."""
        assert self._growing
        self._growing.add(segment)

    def stop(self) -> None:
        """Close the output of a single recording that failed."""
        if self._growing and self._growing.heard_s:
            self._growing.close()
            print(f"warning: {self._growing.extent}", file=sys.stderr)

    def end(self, file: str, transcript: Transcript) -> None:
        """Write the transcript of a recording, or the rest of it."""
        if self._growing and self._growing.heard_s:
            self._growing.end(transcript)
        elif self._output_dir:
            write_text(self._path(file), self._form.file_content(self._name(file), transcript))
        else:
            sys.stdout.write(self._between + self._form.write(self._name(file), transcript))
            sys.stdout.flush()
            self._between = self._form.between

    def _name(self, file: str) -> str:
        return self._ids.get(file, file)

    def _path(self, file: str) -> Path:
        assert self._output_dir
        return self._output_dir / f"{self._targets[file]}.{self._form.suffix}"


class _Growing:
    """Writes every segment of a recording when it is final.

    path: None = stdout; heard_s: end of the last written segment, in seconds
    """

    def __init__(self, writer: Writer, path: Path | None, head: str) -> None:
        self._writer, self._path, self._head = writer, path, head
        self._file: TextIO | None = None
        self._last = "\n"
        self.heard_s = 0.0

    @property
    def extent(self) -> str:
        minutes, seconds = divmod(int(self.heard_s), 60)
        return f"the first {minutes}:{seconds:02d} min are in {self._path or 'the output'}"

    def add(self, segment: Segment) -> None:
        if text := self._writer.add(segment):
            self._write(text)
            self.heard_s = segment.end_s

    def end(self, transcript: Transcript) -> None:
        self._write(self._writer.end(transcript))
        self.close()

    def close(self) -> None:
        """End the last line."""
        if self._last != "\n":
            self._write("\n")
        if self._file and self._path:
            self._file.close()

    def _write(self, text: str) -> None:
        try:
            self._file = self._file or self._open()
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            if self._path:
                error.filename = str(self._path)
                if self._file:  # its buffer has text that would fail again
                    with suppress(OSError):
                        self._file.close()
                self._file, self._last = None, "\n"
            raise
        self._last = text[-1:] or self._last

    def _open(self) -> TextIO:
        if not self._path:
            return sys.stdout
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        file.write(self._head)
        return file


@expand_options
def decode(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, autocompletion=complete(*RECOGNIZERS))],
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
    recitative decode en data/test --output exp/en_test --nbest 20 --jobs 0
    """
    from recitative.asr.recognizer import decode_directory

    if jobs is None:
        jobs = 0 if engine.engine == "ray" else 1
    path = find_model(model)
    with opening(path):
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
        f"{output}: {counted(summary.utterances, 'utterance')}, "
        f"{summary.audio_s:.0f} s of audio in {summary.seconds:.1f} s, "
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
    recitative tune exp/lstm/model data/dev --lm data/lm.ngram --lexicon data/lexicon.txt
    """
    from recitative.asr.kind import RECOGNIZER
    from recitative.asr.network import new_transcriber
    from recitative.asr.tuning import network_outputs
    from recitative.asr.tuning import tune as tune_decoding
    from recitative.model.folder import load_model, save_model
    from recitative.text.tokens import Lexicon

    with opening(model):
        recognizer = load_model(model, RECOGNIZER)
    language = recognizer.language
    if lexicon:
        language = dataclasses.replace(language, lexicon=Lexicon.read(lexicon, recognizer.tokens))
    if lm:
        with progress_bar(f"read {lm.name}"):
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
    recitative rescore data/test exp/las/decode_test/nbest.jsonl --model exp/las/model \\
      --dev data/dev --dev-nbest exp/las/decode_dev/nbest.jsonl --output exp/las/rescored
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
    model: Annotated[str, typer.Argument(help=MODEL_HELP, autocompletion=complete(*RECOGNIZERS))],
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
    recitative align en data/me --output exp/me_aligned --format textgrid
    """
    from recitative.asr.alignment import FORMATS, align_directory

    if unknown := [name for name in format or () if name not in FORMATS]:
        raise UsageError(f"--format {unknown[0]}: is no format; choose from {', '.join(FORMATS)}")
    formats = [form for form in FORMATS if not format or form in format]
    path = find_model(model)
    with opening(path):
        transcriber = open_transcriber(path)
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
    WER, or phone error rate of a model of phones, or loss of a CRF, becomes EXP/model.

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
        shown = ", ".join(
            f"CRF loss {rate:.4f}"
            if name == "dev_crf_loss"
            else f"{name.removeprefix('dev_').upper()} {100 * rate:.2f} %"
            for name, rate in rates.items()
        )
        print(f"best {n:2d} epochs: dev {shown}{mark}")
    print(f"{exp / 'model'}: written")
