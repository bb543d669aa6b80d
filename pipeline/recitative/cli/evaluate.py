"""``recitative info``, ``models``, ``score``, ``export`` and ``report``: verbs for models of every kind."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recitative import pretrained
from recitative.anomaly.detector import FORECASTER
from recitative.asr.kind import RECOGNIZER
from recitative.atomic import write_text
from recitative.classification.classifier import CLASSIFIER
from recitative.cli import classify, language, music, sound
from recitative.cli.options import ANY, Record, complete, expand_options, find_model, open_named_transcriber, print_note
from recitative.config import dump_settings
from recitative.data.directory import read_transcripts
from recitative.errors import DataError, UsageError
from recitative.kinds import MUSIC_KINDS, SOUND_KINDS, kind_of, read_metadata
from recitative.lm.recurrent import LANGUAGE_MODEL
from recitative.model.kind import SETTINGS, ModelKind
from recitative.punctuation.punctuator import PUNCTUATION
from recitative.reading import LARGEST_SETTINGS, read_text
from recitative.score.classification import measure_words, read_timed_words
from recitative.score.results import Measurement, rows_of, settings_hash
from recitative.score.wer import score_directory
from recitative.terminal import progress_bar
from recitative.text.tokens import Lexicon, TokenTable, spelling_of

if TYPE_CHECKING:
    from recitative.model.export import Weights
    from recitative.report.page import Explorable

RECOGNITION, CLASSIFIERS, ANOMALY_MODELS, MUSIC_MODELS = "Speech recognition", "Classifiers", "Anomaly models", "Music"
EXPERIMENT = "Experiments with recognizers"
CompareOption = Annotated[
    Path | None,
    typer.Option(help="Another experiment with the same sets, or another classifier, to compare with."),
]
NotesOption = Annotated[
    Path | None, typer.Option("--notes", help="Text file stored in the model: license, corpus, commands.")
]


def info(
    model: Annotated[
        str, typer.Argument(help="Exported file, or name of a pretrained model.", autocompletion=complete(*ANY))
    ],
    settings: Annotated[bool, typer.Option("--settings", help="Also print the settings of the training.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Print a model card in Markdown.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="With --card: JSON-lines file of results, as 'score --results' writes it.")
    ] = None,
    license: Annotated[
        str, typer.Option(help="With --card: license of the model, such as CC-BY-4.0. Pretrained models: Apache-2.0.")
    ] = "",
) -> None:
    """Describe a model file: kind, size, inputs, outputs, notes.

    \b
    recitative info model.onnx --settings
    recitative info model.onnx --card --results exp/results.jsonl --license CC-BY-4.0 > README.md
    """
    if (results or license) and not card:
        raise UsageError(f"--{'results' if results else 'license'}: requires --card")
    path = find_model(model, ANY)
    metadata = read_metadata(path)
    core = metadata.settings.model.recurrent
    weights = f"{metadata.weights}, ".removeprefix(", ")
    rows = {
        "file": f"{path}, {path.stat().st_size / 1e6:.1f} MB, {weights}{metadata.parameters / 1e6:.2f} M parameters",
        "core": f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}",
    }
    rows |= metadata.kind.describe(metadata)
    name, is_ours = pretrained.name_of(path), path.parent == pretrained.FOLDER
    if is_ours:
        rows["result"] = pretrained.SCORES[name]
    if card:
        from recitative.kinds import model_card
        from recitative.score.results import read_results

        rows["file"] = rows["file"].replace(str(path), path.name)
        license = license or (pretrained.LICENSE if is_ours else "")
        found = read_results(results) if results else []
        file = name if is_ours else path.name
        print(model_card(name, file, metadata, rows, results=found, license=license), end="")
        return
    for title, value in rows.items():
        print(f"{title:<8} {value}")
    if metadata.notes:
        print(f"\n{metadata.notes.rstrip()}")
    if settings:
        print(f"\n{dump_settings(metadata.settings)}", end="")


def models() -> None:
    """List the pretrained models: size, purpose, error rate and license.

    \b
    recitative models
    recitative info en      # what it was trained on, licenses of the corpora, latency, tokens
    """
    for name in pretrained.names():
        path = pretrained.path_of(name)
        assert path, "it is one of the names"
        print(f"{name:<18} {path.stat().st_size / 1e6:4.1f} MB  {pretrained.FOR[name]}")
        print(f"{'':<28}{pretrained.SCORES[name]}; {pretrained.LICENSE}")


# ``recitative score``

SCORERS: Mapping[str, Callable[..., None]] = {
    CLASSIFIER.name: classify.score_classifier,
    FORECASTER.name: classify.score_anomaly_model,
    LANGUAGE_MODEL.name: language.score,
    PUNCTUATION.name: language.score_punctuation,
    **{kind.name: music.score for kind in MUSIC_KINDS},
    **{kind.name: sound.score for kind in SOUND_KINDS},
}


@expand_options
def score(
    context: typer.Context,
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Model folder, exported file, or a pretrained model's name.",
            autocompletion=complete(*ANY),
        ),
    ],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Data directory, or folder of MIDI or ABC files.")],
    record: Record,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for alignments, speakers and confusions. Required.", rich_help_panel=RECOGNITION),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Settings file whose hash goes into the results.", rich_help_panel=RECOGNITION)
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Decoding time, for the results.", rich_help_panel=RECOGNITION)
    ] = None,
    train_seconds: Annotated[
        float | None, typer.Option(help="Training time, for the results.", rich_help_panel=RECOGNITION)
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(help="words.jsonl from decoding, to score confidences.", rich_help_panel=RECOGNITION),
    ] = None,
    aligned: Annotated[
        Path | None,
        typer.Option(help="alignment.jsonl from 'align', to score word times.", rich_help_panel=RECOGNITION),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Token table: count tokens, not words.", rich_help_panel=RECOGNITION)
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon, if --tokens are phones.", rich_help_panel=RECOGNITION)
    ] = None,
    all_speeds: Annotated[
        bool,
        typer.Option(
            "--all-speeds", help="Average the predictions at all speeds of the training.", rich_help_panel=CLASSIFIERS
        ),
    ] = False,
    unusual: Annotated[
        Path | None, typer.Option(help="Data directory of anomalous recordings.", rich_help_panel=ANOMALY_MODELS)
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            "--beside",
            help="Data directory to fit baselines without memory to; with --unusual.",
            rich_help_panel=ANOMALY_MODELS,
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with", help="Further model; the mean of all predictions is scored.", rich_help_panel=MUSIC_MODELS
        ),
    ] = None,
) -> None:
    """Score a model on data, or transcribed text against its transcripts.

    \b
    Recognizer:     recitative score data/test exp/decode_test/text --output exp/score
                    prints WER, CER and SER of text from 'recitative decode'
    Classifier:     accuracy, recall and confusions
    Anomaly model:  NLL, and the area under the ROC curve with --unusual
    Music, sound:   NLL of pieces or recordings
    Language model: perplexity
    Punctuation:    precision, recall and F1 of each mark and of capitals, on a text file

    \b
    recitative score exp/small/model data/test
    recitative score exp/small/model.onnx data/test --results results.jsonl --model small --set test
    """
    if baseline and not unusual:
        raise UsageError("--baseline requires --unusual")
    path = pretrained.find(model)
    if not (path.is_file() or (path / SETTINGS).exists()):  # a data directory
        if not output:
            raise UsageError("--output is missing; give a folder for alignments and confusions")
        score_text(model, data, **_options_for(score_text, context, "decoded text", record))
        return
    is_ngram = path.is_file() and not path.name.endswith((".onnx", ".onnx.gz"))
    kind = LANGUAGE_MODEL if is_ngram else kind_of(path)
    if kind.name not in SCORERS:
        remedy = f"run 'recitative decode {model} {data} --output OUT' and score OUT/text"
        raise UsageError(f"{model}: recognizers are scored on decoded text; {remedy}")
    scorer = SCORERS[kind.name]
    scorer(model, data, **_options_for(scorer, context, f"a {kind.name}", record))


def _options_for(function: Callable[..., None], context: typer.Context, what: str, record: Record) -> dict[str, Any]:
    """The options on the command line as arguments of ``function``. Raises UsageError for others."""
    accepted = signature(function).parameters
    of_record = {field.name for field in fields(Record)}
    given: dict[str, Any] = {"record": record} if "record" in accepted else {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.param_type_name != "option" or not source or source.name != "COMMANDLINE":
            continue
        name = "record" if parameter.name in of_record else parameter.name
        if name not in accepted:
            raise UsageError(f"{parameter.opts[0]}: not for {what}; leave it out")
        given.setdefault(name, context.params[parameter.name or ""])
    return given


SHOWN_MISSING = 20  # utterances printed on the terminal; the file 'missing' has all


def score_text(
    data_dir: Path,
    hyp_text: Path,
    record: Record,
    *,
    output: Path,
    settings: Path | None = None,
    seconds: float | None = None,
    train_seconds: float | None = None,
    words: Path | None = None,
    aligned: Path | None = None,
    tokens: Path | None = None,
    lexicon: Path | None = None,
) -> None:
    """Print %WER, %CER and %SER; write alignments per utterance, a table of speakers, and confusions to ``output``.

    words: words.jsonl of decoding, to score confidences; aligned: alignment.jsonl, to score the times of words
    tokens: of 'decode --greedy': tokens are counted instead of words; lexicon: if the tokens are phones
    """
    if aligned and not words:
        raise UsageError("--aligned requires --words, whose times are compared with it")
    if lexicon and not tokens:
        raise UsageError("--lexicon requires --tokens, the token table of its phones")
    try:
        hashed = settings_hash(read_text(settings, "a settings file")) if settings else "-"
    except DataError as error:
        raise UsageError(f"--settings {error}") from None
    table = TokenTable.read(tokens) if tokens else None
    spelling = spelling_of(table, Lexicon.read(lexicon, table) if lexicon else None) if table else None
    with progress_bar("score"):
        scores = score_directory(data_dir, hyp_text, output, spelling, table.unit if table else "")
    quality = None
    if words:
        refs = {row.key: row.value for row in read_transcripts(data_dir)}
        quality = measure_words(refs, read_timed_words(words), read_timed_words(aligned) if aligned else None)
        write_text(output / "reliability", quality.table)
    if record.results:
        if record.decoding == "-":
            record = replace(record, decoding="greedy")
        origin = record.row(hashed, seconds)
        rows = [*scores.rows(origin), *(quality.rows(origin) if quality else [])]
        if train_seconds is not None:
            cost = Measurement("minutes", round(train_seconds / 60, 2))
            of_training = replace(origin, set="train", decoding="-", seconds=train_seconds)
            rows += rows_of([cost], of_training)
        record.write_rows(rows)
    lines = scores.summary().splitlines()
    print("\n".join(lines[:3]))
    print_note("\n".join(lines[3:]))
    if missing := scores.words.missing:
        count = len(missing) - SHOWN_MISSING
        names = ", ".join(missing[:SHOWN_MISSING]) + (f" and {count} more, see {output}/missing" if count > 0 else "")
        print_note(f"warning: no hypothesis, counted as all deleted: {names}")
    if quality:
        print(quality.summary())


# ``recitative export`` and ``report``


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, such as exp/lstm/model.")],
    output: Annotated[Path, typer.Option(help="File to write, such as model.onnx.")],
    dev: Annotated[Path | None, typer.Option(help="Data directory on which int8 is compared with float32.")] = None,
    weights: Annotated[
        Literal["auto", "int8", "float32"],
        typer.Option(
            help="auto: int8 if it costs at most 0.2 % of WER or accuracy on --dev; music, sound, text: float32."
        ),
    ] = "auto",
    notes: NotesOption = None,
    sherpa: Annotated[
        bool,
        typer.Option("--sherpa", help="Convert an exported streaming recognizer to a folder for sherpa-onnx."),
    ] = False,
) -> None:
    """Export a model of any kind to one ONNX file, which needs no PyTorch.

    The file holds the network with its state as inputs and outputs, the settings, and tokens, labels or thresholds.

    \b
    recitative export exp/lstm/model --dev data/dev --output lstm.onnx
    recitative export lstm.onnx --sherpa --output lstm-sherpa
    """
    if sherpa:
        _export_sherpa(model, output)
        return
    kind = kind_of(model)
    text = read_text(notes, "a text file", limit=LARGEST_SETTINGS) if notes else ""
    if kind.int8 not in ("", "weights"):
        _export_checked(model, kind, output, dev, weights, text)
        return
    if dev:
        raise UsageError("--dev: only for recognizers and classifiers; leave it out")
    if weights == "int8" and not kind.int8:
        raise UsageError(f"--weights int8: a {kind.name} model has only float32; leave it out")
    from recitative.model.export import export_model
    from recitative.model.folder import load_model

    written = "int8" if weights == "int8" else "float32"
    with progress_bar("export"):
        size = export_model(load_model(model, kind), output, notes=text, int8=written == "int8")
    print(f"{output}: {written}, {size / 1e6:.1f} MB")


def _export_sherpa(model: Path, output: Path) -> None:
    """Write model.onnx and tokens.txt of an exported recognizer or a pretrained one."""
    path = find_model(str(model))
    if path.is_dir():
        raise UsageError(f"--sherpa {model}: is a folder; export it to a file first, and give the file")
    kind_of(path, [RECOGNIZER])
    from recitative.reading import GZIP_MAGIC, read_bytes, unpacked

    with progress_bar("export"):
        from recitative.model.export import FILES, export_sherpa

        content = read_bytes(path)
        content = unpacked(content, str(path)) if content.startswith(GZIP_MAGIC) else content
        export_sherpa(content, read_metadata(path), output)
    print(f"{output}: {', '.join(FILES)}, for OnlineRecognizer.from_wenet_ctc")


def _export_checked(model: Path, kind: ModelKind, output: Path, dev: Path | None, weights: Weights, notes: str) -> None:
    """Export a recognizer or a classifier, and print the error rates of float32 and int8 on ``dev``."""
    from recitative.model.export import export_checked
    from recitative.model.folder import load_model

    with progress_bar("compare on dev") as show:
        done = export_checked(load_model(model, kind), output, dev=dev, weights=weights, notes=notes, advance=show)
    for form, errors in (("float32", done.float32_errors), ("int8", done.int8_errors)):
        if errors is not None:
            rate = f"WER {100 * errors.rate:.2f} % [ {errors.errors} / {errors.ref} ]"
            if kind is CLASSIFIER:
                rate = f"accuracy {100 * (1 - errors.rate):.2f} % [ {errors.correct} / {errors.ref} ]"
            print(f"{form:>7}: dev {rate}{'  <- written' if form == done.weights else ''}")
    saved = f", float32 would be {done.float32_size / 1e6:.1f} MB" if done.weights == "int8" else ""
    print(f"{output}: {done.weights}, {done.size / 1e6:.1f} MB{saved}")


@expand_options
def report(
    context: typer.Context,
    what: Annotated[
        Path, typer.Argument(metavar="WHAT", help="Experiment folder, classifier, or folder of generated pieces.")
    ],
    record: Record,
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help="For a classifier: labeled data.")] = None,
    output: Annotated[Path | None, typer.Option(help="Page to write. Default: WHAT/report.html.")] = None,
    title: Annotated[str, typer.Option(help="Title of the page.", rich_help_panel=CLASSIFIERS)] = "",
    compare: CompareOption = None,
    worst: Annotated[int, typer.Option(min=0, help="Worst utterances of each set.", rich_help_panel=EXPERIMENT)] = 12,
    errors: Annotated[
        int, typer.Option(min=0, help="Most confident errors to list.", rich_help_panel=CLASSIFIERS)
    ] = 20,
    originals: Annotated[
        Path | None, typer.Option(help="Pieces to compare with. Required.", rich_help_panel=MUSIC_MODELS)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers.", rich_help_panel=MUSIC_MODELS)] = False,
    players: Annotated[int, typer.Option(min=0, help="Pieces with players.", rich_help_panel=MUSIC_MODELS)] = 12,
    sound: Annotated[bool, typer.Option("--sound/--no-sound", help="Add sound.", rich_help_panel=MUSIC_MODELS)] = True,
    soundfont: Annotated[
        Path | None, typer.Option(help="sf2 or sf3 file for the sound.", rich_help_panel=MUSIC_MODELS)
    ] = None,
    steps_per_quarter: Annotated[
        int, typer.Option(min=1, max=48, help="Grid of the comparison.", rich_help_panel=MUSIC_MODELS)
    ] = 4,
) -> None:
    """Write an HTML page about an experiment, a classifier or generated music. The page needs no other file.

    \b
    recitative report exp/lstm                                        curves, errors, worst utterances
    recitative report exp/lstm --compare exp/blstm                    both, with differences
    recitative report exp/small/model data/test --output report.html  accuracy, confusions, errors to listen to
    recitative report exp/samples --originals data/train              statistics, copies, piano rolls, players
    """
    if originals:
        music.report(what, **_options_for(music.report, context, "music", record))
    elif data:
        if not output:
            raise UsageError("--output is missing; give the page to write, such as report.html")
        classify.report(what, data, **_options_for(classify.report, context, "a classifier", record))
    else:
        report_experiment(what, **_options_for(report_experiment, context, "an experiment of a recognizer", record))


def report_experiment(
    experiment: Path, *, output: Path | None = None, worst: int = 12, compare: Path | None = None
) -> None:
    """Write curves, error analysis, worst utterances with pictures and sound, settings and environment to one page."""
    from recitative.asr.report import write_report

    with progress_bar("report") as show:
        path = write_report(
            experiment, output, compare=compare, worst=worst, open_model=open_named_transcriber, progress=show
        )
    print(path)


@expand_options
def explore(
    what: Annotated[Path, typer.Argument(metavar="WHAT", help="Experiment folder, or classifier.")],
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help="For a classifier: labeled data.")] = None,
    compare: CompareOption = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="0 = any that is free. Default: 2710, or a free one if that is taken."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Explore utterances in the browser, worst first: hear and see them, compare two models, find bad labels.

    The page is that of 'recitative report', on which every utterance opens with its spectrogram, posteriors, alignment
    and sound. It scores each transcript by how well the network hears it, so that wrong ones come first. Only this
    machine can open the page. Ctrl-C ends it.

    \b
    recitative explore exp/lstm                      its sets in decode_*
    recitative explore exp/lstm --compare exp/blstm  side by side
    recitative explore exp/small/model data/test     a classifier
    """
    import webbrowser

    from recitative.report.page import Explorer

    if data:
        explored: Explorable = classify.new_report(what, data, compare, live=True)
    else:
        from recitative.asr.experiment import read_experiment
        from recitative.asr.report import Report

        explored = Report(
            [read_experiment(path) for path in (what, compare) if path], open_named_transcriber, live=True
        )
    server = Explorer(explored, port)
    print(f"{what} at {server.url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    if browser:
        webbrowser.open(server.url)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
