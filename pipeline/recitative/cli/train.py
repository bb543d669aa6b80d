"""``recitative init-config``, ``find-batch-size``, ``train`` and ``adapt``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from recitative import pretrained
from recitative.asr.kind import RECOGNIZER
from recitative.asr.pronunciation import ListedWord, pronounce_words, read_word_list
from recitative.atomic import one_writer, write_bytes, write_text
from recitative.audio.files import inspect
from recitative.cli.language import open_letter_to_sound
from recitative.cli.options import (
    MODEL_HELP,
    RECOGNIZERS,
    SettingsOptions,
    complete,
    expand_options,
    find_model,
    open_transcriber,
    print_note,
    print_table,
)
from recitative.config import FeatureSettings, dump_settings
from recitative.data.directory import DataDirectory
from recitative.data.importing import ImportOptions, import_corpus, read_source
from recitative.data.parallel import available_cores
from recitative.data.shards import is_shards
from recitative.errors import UsageError, counted
from recitative.features.extraction import audio_duration_s, audio_durations_s
from recitative.kinds import KINDS, kind_of, load_training, read_metadata
from recitative.lm.estimate import Sentences, read_sentences
from recitative.model.kind import ModelKind
from recitative.score.wer import ErrorCounts
from recitative.terminal import progress_bar, track
from recitative.text.normalize import NormalizationRules, normalize
from recitative.text.tokens import Lexicon, Pronunciation, TokenTable, required_frames, spelling_of

if TYPE_CHECKING:
    from recitative.asr.adaptation import Adapted
    from recitative.asr.network import RecognizerModel
    from recitative.asr.presets import Corpus

SERVICES = ("wandb", "mlflow")
LOAD = "load PyTorch"  # takes seconds the first time
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]


def init_config(
    data_dir: Annotated[Path, typer.Argument(help="Data directory of the training set.")],
    output: Annotated[Path, typer.Option(help="Settings file to write, such as conf.yaml.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Bidirectional model for whole recordings. Default: a streaming model.")
    ] = False,
    hours: Annotated[
        float | None, typer.Option(min=0.01, help="Training time. Default: depends on the size of the corpus.")
    ] = None,
) -> None:
    """Choose a model and a training schedule, and write a settings file for 'recitative train'.

    The choice depends on the hours of audio, the number of speakers and this machine; the reasons are printed.

    \b
    recitative init-config data/train --output conf/lstm.yaml --hours 2
    recitative init-config data/train --output conf/blstm.yaml --offline
    """
    with progress_bar(LOAD):
        import torch

        from recitative.asr.presets import Hardware, suggest

    gpu_gb = torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else 0.0
    found = suggest(_measure_corpus(data_dir), Hardware(available_cores(), gpu_gb), offline=offline, hours=hours)
    print_table(str(output), [(choice.what, choice.value, choice.reason) for choice in found.choices])
    duration = found.train_hours
    print(
        "expected training time: "
        + (f"{duration:.1f} h" if duration >= 1.5 else counted(max(1, round(duration * 60)), "minute"))
    )
    for warning in found.warnings:
        print_note(f"warning: {warning}")
    comments = [f"# Written by 'recitative init-config {data_dir} ...'; edit it as you like.", "#"]
    comments += [f"# {choice.what}: {choice.value}; {choice.reason}" for choice in found.choices]
    write_text(output, "\n".join([*comments, dump_settings(found.settings)]))


def _measure_corpus(data_dir: Path) -> Corpus:
    """Raises DataError for recordings that cannot be opened or have several sample rates."""
    from recitative.asr.presets import Corpus

    directory = DataDirectory.read(data_dir)
    utterances = directory.utterances
    sample_rate = inspect(utterances[0].recording_path).sample_rate
    seconds = [audio_duration_s(one, sample_rate) for one in track(utterances, "measuring recordings", len(utterances))]
    features = FeatureSettings(sample_rate=sample_rate)
    frames = [features.num_frames(round(length * sample_rate)) for length in seconds]
    letters = [required_frames(list(one.text or "")) for one in utterances]
    lengths = tuple(zip(frames, letters, strict=True))
    return Corpus(sum(seconds) / 3600, len(directory.by_speaker), sample_rate, max(seconds), lengths)


@expand_options
def find_batch_size(
    train_dir: Annotated[Path, typer.Option("--train", help="Data directory or folder of shards of the training set.")],
    tokens: Annotated[Path, typer.Option(help="Token table from 'recitative tokens'.")],
    options: SettingsOptions,
    lexicon: Annotated[Path | None, typer.Option(help="Lexicon, if the tokens are phones.")] = None,
    memory_gb: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Memory per worker. Default: 80 % of the free memory of the GPU or of this machine."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Settings file to write, to be included by others.")] = None,
) -> None:
    """Measure the largest batch that fits into memory, for short and for long utterances.

    It is printed as the setting train.max_batch_s.

    \b
    recitative find-batch-size --conf conf/lstm.yaml --train data/train --tokens data/tokens.txt
    recitative find-batch-size --conf conf/lstm.yaml --train data/train_shards --tokens data/tokens.txt \\
      --memory-gb 10 --output conf/batch.yaml
    """
    settings = options.load()
    with progress_bar(LOAD):
        from recitative.asr.presets import (
            QUANTILES,
            available_bytes,
            in_a_process_of_its_own,
            measure_step,
            tune_buckets,
        )
        from recitative.train.distributed import choose_device

    device = choose_device(settings.train)
    table = TokenTable.read(tokens)
    spelling = spelling_of(table, Lexicon.read(lexicon, table) if lexicon else None)
    utterances = DataDirectory.read(train_dir).utterances
    with progress_bar("measuring recordings"):
        seconds = audio_durations_s(utterances, settings.features.sample_rate)
    labels = sum(len(spelling.split(u.text or "")) for u in utterances)
    budget = round(1e9 * memory_gb) if memory_gb else round(0.8 * available_bytes(device))
    work = partial(measure_step, settings, table.symbols, str(device))
    buckets = []
    with progress_bar("measure batches") as show:
        played_s = seconds / min(settings.augment.speeds)
        found = tune_buckets(played_s, labels / float(seconds.sum()), budget, in_a_process_of_its_own(work))
        for bucket in found:
            buckets.append(bucket)
            show(len(buckets), len(QUANTILES), f"measure batches, up to {bucket.longest_s:g} s done")
    print(f"# {device}, {budget / 1e9:.2f} GB, recompute={str(settings.train.recompute).lower()}")
    for bucket in buckets:
        print(f"# up to {bucket.longest_s:5.1f} s: {bucket.rows:6d} utterances, {bucket.peak / 1e9:.2f} GB")
    pairs = ", ".join(f"[{bucket.longest_s:g}, {bucket.max_batch_s:.0f}]" for bucket in buckets)
    setting = f"max_batch_s: [{pairs}]"
    print(f"train:\n  {setting}")
    if output:
        write_text(
            output,
            f"# Written by 'recitative find-batch-size': {budget / 1e9:.2f} GB on {device}.\ntrain:\n  {setting}\n",
        )


def _complete_kind(incomplete: str) -> list[str]:
    """For the shell, once a word begins: other words are files."""
    found = [f"kind={kind.name}" for kind in KINDS]
    return [one for one in found if incomplete and one.startswith(incomplete)]


def train(
    output: Annotated[Path, typer.Option(help="Experiment folder. A run that is found there is resumed.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONF] [SECTION.KEY=VALUE...]",
            help="YAML settings file, and settings.",
            autocompletion=_complete_kind,
        ),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(help="Training data: a data directory or shards, a folder of pieces, texts, or a dictionary."),
    ] = None,
    dev: Annotated[Path | None, typer.Option(help="Data of the same form, to choose the best epoch.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="Token table, from 'recitative tokens'.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Lexicon, if the tokens are phones; from 'recitative lexicon'.")
    ] = None,
    cmvn: Annotated[Path | None, typer.Option(help="Normalization statistics, from 'recitative cmvn'.")] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Fine-tune this model folder, exported file or pretrained model. Its tokens may differ."),
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher model for distillation (settings: distill.*).")] = None,
    unlabeled: Annotated[Path | None, typer.Option(help="Audio without transcripts, for distillation.")] = None,
    unlabelled: Annotated[Path | None, typer.Option(hidden=True)] = None,  # older spelling of it
    alternatives: Annotated[
        Path | None, typer.Option(help="The teacher's n-best lists of the training data ('recitative decode --nbest').")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Music: leave out files that cannot be used, and report them on stderr.")
    ] = False,
    lower: Annotated[bool, typer.Option("--lower", help="Convert the dictionary to lower case.")] = False,
    keep_stress: Annotated[bool, typer.Option("--keep-stress", help="Keep the dictionary's stress marks.")] = False,
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="wandb|mlflow", help="Also send the curves to Weights & Biases or MLflow, if installed."),
    ] = None,
    conf: Annotated[Path | None, typer.Option(hidden=True)] = None,  # older form of CONF
    quiet: QuietOption = False,
) -> None:
    """Train a model of any kind. 'kind' in CONF is the kind; default: a recognizer.

    To resume an interrupted run, repeat the command; the weights are the same as without the interruption. The data may
    also be set in CONF, such as 'data: {train: data/train, dev: data/dev}'.

    For a recognizer, give --train, --dev, --tokens, and --cmvn or --init; then 'recitative average EXP' makes the
    model. All other kinds save the best epoch in OUTPUT/model. 'torchrun --standalone --nproc-per-node 2 -m recitative
    train ...' trains a recognizer with several workers. 'tensorboard --logdir EXP/tensorboard' shows the curves.

    \b
    recitative train conf/lstm.yaml --train data/train --dev data/dev --tokens data/tokens.txt --cmvn data/cmvn \\
      --output exp/lstm
    recitative train kind=classifier --train data/train --dev data/dev --output exp/small
    WANDB_MODE=offline recitative train conf/tune.yaml --output exp/tune --log wandb
    """
    options = {
        "train": train, "dev": dev, "tokens": tokens, "lexicon": lexicon, "cmvn": cmvn, "init": init,
        "teacher": teacher, "unlabeled": unlabeled or unlabelled, "alternatives": alternatives, "skip_bad": skip_bad,
        "lower": lower, "keep_stress": keep_stress,
    }  # fmt: skip
    if unknown := sorted(set(log or ()) - set(SERVICES)):
        raise UsageError(f"--log {unknown[0]}: must be one of {', '.join(SERVICES)}")
    train_kind(KINDS, output, arguments, conf, quiet, options, log or ())


def train_kind(
    kinds: Sequence[ModelKind],
    output: Path,
    arguments: Sequence[str] | None,
    conf: Path | None,
    quiet: bool,
    options: Mapping[str, Any],
    loggers: Sequence[str] = (),
) -> None:
    """Train a model of one of these kinds. Options that are None, empty or False are not set."""
    arguments = arguments or ()
    overrides = [text for text in arguments if "=" in text and not Path(text).exists()]
    files = [*([conf] if conf else []), *(Path(text) for text in arguments if text not in overrides)]
    if len(files) > 1:
        raise UsageError(f"two settings files, {files[0]} and {files[1]}; give one")
    given = {name: value for name, value in options.items() if value}
    if len(given.get("train", ())) == 1:
        [given["train"]] = given["train"]
    kind, settings, data = load_training(files[0] if files else None, overrides, given, kinds)
    with nullcontext() if quiet else progress_bar(LOAD):
        from recitative.train.distributed import is_first_rank
        from recitative.train.run import train_model

    trained = train_model(kind, settings, data, output, quiet=quiet, loggers=("tensorboard", *loggers))
    if is_first_rank():
        print(trained)


def adapt(
    recordings: Annotated[
        Path, typer.Argument(help="Folder of recordings with transcripts, as 'data import' takes, or a data directory.")
    ],
    base: Annotated[
        str, typer.Option(help=f"Recognizer to adapt. {MODEL_HELP}", autocompletion=complete(*RECOGNIZERS))
    ],
    output: Annotated[Path, typer.Option(help="File to write, such as me.onnx.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE...]", help="Settings, such as train.epochs=5.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV, TSV or JSON-lines table of transcripts. Default: a .txt per recording.")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="More sentences of the subject, one per line, for words and language model."),
    ] = None,
    g2p: Annotated[
        str,
        typer.Option(
            help="Letter-to-sound model for new words, where tokens are phones: model folder, exported file or name. "
            f"Default: the pretrained {pretrained.G2P}."
        ),
    ] = "",
    lexicon: Annotated[
        Path | None, typer.Option(help="Pronunciations of new words, where tokens are phones: 'word PH PH ...' lines.")
    ] = None,
    mismatches: Annotated[
        Literal["stop", "leave-out", "keep"],
        typer.Option(help="What to do if transcripts do not match the recordings: list them and stop, or go on."),
    ] = "stop",
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for data, training run and model. Default: me-adapt next to me.onnx."),
    ] = None,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Do not normalize transcripts and text.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Adapt a recognizer to your recordings: at least a minute, better an hour of one speaker or subject.

    A tenth of the utterances is held out for scoring, and a twentieth to choose epochs, weights and int8, if it has 300
    words. The others fine-tune the network. The language model is interpolated with one of the transcripts and of
    --text, and new words are added to the lexicon. Prints the word error rate on the held-out part before and after.

    To resume an interrupted run, repeat the command.

    \b
    recitative adapt recordings --base en --output me.onnx
    recitative adapt data/me --base exp/lstm/model --text letters.txt --g2p exp/g2p/model --output me.onnx
    """
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; a file; give the path of a file, such as {output / 'me.onnx'}")
    if is_shards(recordings):
        raise UsageError(f"{recordings}: is a folder of shards; give the data directory that they were made from")
    path = find_model(base)
    kind_of(path, [RECOGNIZER])
    work = work or output.with_name(f"{output.stem}-adapt")
    from recitative.asr.adaptation import Base, Material
    from recitative.asr.adaptation import adapt as adapt_model
    from recitative.asr.recognizer import word_errors
    from recitative.asr.stream import load_transcriber
    from recitative.model.export import export_checked, open_for_training

    model = open_for_training(path, RECOGNIZER)
    transcriber = open_transcriber(path)
    with one_writer(work):
        style = _TextStyle.of(model, keep_text)
        folder = _import_recordings(recordings, work, table, style, model.settings.features.sample_rate)
        texts = [style.read_sentences(file) for file in text or ()]
        material = Material(folder, texts, extend_lexicon(model, folder, texts, lexicon, g2p))
        adapted = adapt_model(
            Base(model, transcriber, path), material, work, progress_bar, mismatches=mismatches,
            overrides=overrides or (), tell=print_note, quiet=quiet,
        )  # fmt: skip
        notes = f"Adapted from {path.name} by 'recitative adapt' to {60 * adapted.hours:.1f} minutes of recordings.\n"
        if path.is_file() and (of_base := read_metadata(path).notes):
            notes += f"\nThe base:\n{of_base}"
        with progress_bar("compare int8 with float32") as show:
            made = export_checked(adapted.model, work / "model.onnx", dev=adapted.dev, notes=notes, advance=show)
        with progress_bar("score before") as show:
            before = word_errors(transcriber, work / "data/test", show)
        with progress_bar("score after") as show:
            after = word_errors(load_transcriber(work / "model.onnx"), work / "data/test", show)
        write_bytes(output, (work / "model.onnx").read_bytes())
    _print_adapted(adapted, model, before, after)
    print(f"{output}: {made.weights}, {made.size / 1e6:.1f} MB")


class _TextStyle(NamedTuple):
    """Normalization of transcripts and texts to the base's characters."""

    rules: NormalizationRules | None  # None: no normalization
    upper: bool

    @classmethod
    def of(cls, model: RecognizerModel, keep_text: bool) -> _TextStyle:
        letters = "".join(model.lexicon.entries if model.lexicon else model.tokens.symbols[1:])
        has_upper, has_lower = letters != letters.lower(), letters != letters.upper()
        return cls(None if keep_text else NormalizationRules(keep_case=has_upper), has_upper and not has_lower)

    def apply(self, text: str) -> str:
        if self.rules is None:
            return text
        return normalize(text.upper() if self.upper else text, self.rules)

    def read_sentences(self, path: Path) -> Sentences:
        """Raises DataError for a file without words."""
        read = read_sentences(path, plain=True)
        return replace(read, lines=tuple(filter(None, map(self.apply, read.lines))))


def _import_recordings(recordings: Path, work: Path, table: Path | None, style: _TextStyle, sample_rate: int) -> Path:
    """A data directory of the recordings at the base's sample rate."""
    if (recordings / "wav.scp").is_file():
        if table:
            raise UsageError(f"--table: {recordings} is a data directory, which has transcripts; leave it out")
        return recordings
    if work.resolve().is_relative_to(recordings.resolve()):
        raise UsageError(
            f"{work}: lies within {recordings}, whose recordings are read; give another folder with --work"
        )
    source = read_source(recordings, table, unpacked=work / "data" / "recordings")
    if style.upper:
        source = replace(source, entries=tuple(replace(one, text=one.text.upper()) for one in source.entries))
    with progress_bar("read transcripts") as show:
        options = ImportOptions(sample_rate, style.rules, jobs=available_cores())
        made = import_corpus(source, work / "data" / "all", options, show)
    for note in made.notes:
        print_note(note)
    return work / "data" / "all"


def extend_lexicon(
    model: RecognizerModel, folder: Path, texts: Sequence[Sentences], given: Path | None, g2p: str
) -> Lexicon | None:
    """The base's lexicon with pronunciations of all new words. Raises as ``pronounce_words``."""
    known, tokens = model.lexicon, model.tokens
    if (g2p or given) and (known is None or tokens.unit != "phone"):
        option = "--g2p" if g2p else "--lexicon"
        raise UsageError(f"{option}: the base spells words in {tokens.holds}s; leave it out")
    if known is None:
        return None
    lines = [*DataDirectory.read(folder).texts.values(), *(line for text in texts for line in text.lines)]
    where = "--lexicon FILE" if tokens.unit == "phone" else f"{folder}/text"  # where a remedy is written
    listed = read_word_list(given, tokens) if given else []
    listed += [ListedWord(word, (), where) for word in sorted(known.unknown(lines))]
    ways: dict[str, tuple[Pronunciation, ...]] = {}
    for one in pronounce_words(listed, known, tokens, open_letter_to_sound(g2p)):
        ways[one.word] = (*ways.get(one.word, ()), one.pronunciation)
    return known.with_entries(Lexicon(ways))


def _print_adapted(adapted: Adapted, base: RecognizerModel, before: ErrorCounts, after: ErrorCounts) -> None:
    sizes, model, lexicon = adapted.sizes, adapted.model, adapted.model.lexicon
    print(f"trained on {60 * adapted.hours:.1f} minutes, {counted(sizes['train'], 'utterance')}")
    words = (
        f"{counted(len(lexicon) - len(base.lexicon), 'new word')} in the lexicon, " if lexicon and base.lexicon else ""
    )
    lm = f"weight {model.settings.decode.lm_weight:g}" if model.lm else "left out, it did not help"
    print(f"{words}language model: {lm}")
    print(f"held out: {counted(sizes['test'], 'utterance')}, {counted(before.ref, 'word')}")
    for name, errors in (("before", before), ("after", after)):
        print(f"{name:>8}: WER {100 * errors.rate:6.2f} % [ {errors.errors} / {errors.ref} ]")
    if after.errors > before.errors:
        print_note("warning: the new model makes more errors than its base; keep the base")
