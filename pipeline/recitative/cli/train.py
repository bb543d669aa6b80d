"""``recitative train``, ``init-config`` and ``find-batch-size``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from recitative.anomaly.kind import FORECASTER
from recitative.asr.g2p_kind import G2P
from recitative.atomic import write_text
from recitative.audio.files import inspect
from recitative.classification.kind import CLASSIFIER
from recitative.config import FeatureSettings, dump_settings, load_settings
from recitative.data.directory import DataDirectory
from recitative.data.frames import num_frames
from recitative.errors import UsageError
from recitative.features.extraction import audio_duration_s
from recitative.kinds import KINDS, MUSIC_KINDS, SOUND_KINDS, load_training
from recitative.lm.kind import LANGUAGE_MODEL
from recitative.machine import available_cores
from recitative.model.kind import ModelKind
from recitative.terminal import progress_bar, track
from recitative.text.tokens import TextUnit, required_frames

if TYPE_CHECKING:
    from recitative.asr.presets import Corpus, Hardware, Suggestion


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
    """
    from recitative.asr import presets as suggestions

    suggestion = suggestions.suggest(_corpus(data_dir), _hardware(), offline=offline, hours=hours)
    _print(suggestion, output)
    write_text(output, _comment(suggestion, data_dir) + dump_settings(suggestion.settings))


def _corpus(data_dir: Path) -> Corpus:
    """Raises DataError for recordings that cannot be opened or have several sample rates."""
    from recitative.asr.presets import Corpus

    directory = DataDirectory.read(data_dir)
    utterances = directory.utterances
    sample_rate = inspect(utterances[0].recording_path).sample_rate
    seconds = [audio_duration_s(one, sample_rate) for one in track(utterances, "measuring recordings", len(utterances))]
    features = FeatureSettings(sample_rate=sample_rate)
    frames = [num_frames(round(length * sample_rate), features) for length in seconds]
    letters = [required_frames(list(one.text or "")) for one in utterances]
    lengths = tuple(zip(frames, letters, strict=True))
    return Corpus(sum(seconds) / 3600, len(directory.by_speaker), sample_rate, max(seconds), lengths)


def _hardware() -> Hardware:
    import torch

    from recitative.asr.presets import Hardware

    gpu = torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else 0.0
    return Hardware(available_cores(), gpu)


def _print(suggestion: Suggestion, output: Path) -> None:
    table = Table(title=str(output), title_justify="left", show_header=False)
    for choice in suggestion.choices:
        table.add_row(choice.what, choice.value, choice.reason)
    width = None if sys.stdout.isatty() else 1000  # in a file no line is wrapped
    Console(markup=False, emoji=False, width=width).print(table)
    print(f"expected training time: {_duration(suggestion.train_hours)}")
    for warning in suggestion.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1.5 else f"{max(1, round(hours * 60))} minutes"


def _comment(suggestion: Suggestion, data_dir: Path) -> str:
    lines = [f"# What 'recitative init-config {data_dir} ...' chose; change what you like.", "#"]
    lines += [f"# {choice.what}: {choice.value}; {choice.reason}" for choice in suggestion.choices]
    return "".join(f"{line}\n" for line in lines)


# ``recitative find-batch-size``: how much fits into memory.


def find_batch_size(
    train_dir: Annotated[Path, typer.Option("--train", help="Data directory or folder of shards of the training set.")],
    tokens: Annotated[Path, typer.Option(help="Token table from 'recitative tokens'.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as model.recurrent.hidden=512.")] = None,
    conf: Annotated[Path | None, typer.Option(help="YAML settings file.")] = None,
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

    It is printed as the setting train.most_s.

    \b
    recitative find-batch-size --conf conf/lstm.yaml --train data/train --tokens data/tokens.txt
    """
    settings = load_settings(conf, overrides or ())
    from recitative.asr.memory import available_bytes, in_a_process_of_its_own, measure_step, tune_buckets
    from recitative.data.directory import DataDirectory
    from recitative.features.extraction import audio_durations_s
    from recitative.text.lexicon import Lexicon, spelling_of
    from recitative.text.tokens import TokenTable
    from recitative.train.distributed import choose_device

    device = choose_device(settings.train)
    table = TokenTable.read(tokens)
    spelling = spelling_of(table, Lexicon.read(lexicon, table) if lexicon else None)
    utterances = DataDirectory.read(train_dir).utterances
    seconds = audio_durations_s(utterances, settings.features.sample_rate)
    labels = sum(len(spelling.split(u.text or "")) for u in utterances)
    budget = round(1e9 * memory_gb) if memory_gb else round(0.8 * available_bytes(device))
    work = partial(measure_step, settings, table.symbols, str(device))
    buckets = []
    with progress_bar("tune-batch") as show:
        played_s = seconds / min(settings.augment.speeds)
        found = tune_buckets(played_s, labels / float(seconds.sum()), budget, in_a_process_of_its_own(work))
        for bucket in found:
            buckets.append(bucket)
            show(len(buckets), 3)
    print(f"# {device}, {budget / 1e9:.2f} GB, recompute={str(settings.train.recompute).lower()}")
    for bucket in buckets:
        print(f"# up to {bucket.longest_s:5.1f} s: {bucket.rows:6d} utterances, {bucket.peak / 1e9:.2f} GB")
    pairs = ", ".join(f"[{bucket.longest_s:g}, {bucket.most_s:.0f}]" for bucket in buckets)
    setting = f"most_s: [{pairs}]"
    print(f"train:\n  {setting}")
    if output:
        write_text(
            output, f"# Made by 'recitative find-batch-size': {budget / 1e9:.2f} GB on {device}.\ntrain:\n  {setting}\n"
        )


# ``recitative train``: train a model of any kind, or resume a run.

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONF] [SECTION.KEY=VALUE...]", help="A YAML settings file, and settings."),
]
OutputOption = Annotated[Path, typer.Option(help="The experiment folder; a run found there is resumed.")]
TrainOption = Annotated[
    list[Path] | None,
    typer.Option("--train", help="Data to train on: a data directory or shards, a folder of pieces, or a dictionary."),
]
DevOption = Annotated[Path | None, typer.Option("--dev", help="Data of the same form that choose the best epoch.")]
ConfOption = Annotated[Path | None, typer.Option("--conf", hidden=True, help="The settings file; older form.")]
CmvnOption = Annotated[Path | None, typer.Option(help="Normalization statistics, from 'recitative cmvn'.")]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Music: leave out files that cannot be used, and name them on stderr.")
]
LowerOption = Annotated[bool, typer.Option("--lower", help="Read the words of the dictionary in lower case.")]
KeepStressOption = Annotated[bool, typer.Option("--keep-stress", help="Learn the dictionary's stress marks too.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]


def train(
    output: OutputOption,
    arguments: Arguments = None,
    train: TrainOption = None,
    dev: DevOption = None,
    tokens: Annotated[Path | None, typer.Option(help="The token table, from 'recitative tokens'.")] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Pronunciations, where tokens are phones; from 'recitative lexicon'.")
    ] = None,
    cmvn: CmvnOption = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Fine-tune this model folder, exported file or pretrained model. Its tokens may differ."),
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="Teacher model for distillation (settings: distill.*).")] = None,
    unlabelled: Annotated[Path | None, typer.Option(help="More audio, for the teacher alone.")] = None,
    alternatives: Annotated[
        Path | None, typer.Option(help="The teacher's n-best lists of the training data ('recitative decode --nbest').")
    ] = None,
    skip_bad: SkipBadOption = False,
    lower: LowerOption = False,
    keep_stress: KeepStressOption = False,
    conf: ConfOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train a model. 'kind' in CONF is the kind of model; without it, a recognizer.

    Stop the run at any time: the same command resumes it and ends in the same weights. What is read can also stand in
    CONF under 'data', such as 'data: {train: data/train, dev: data/dev}'.

    A recognizer takes --train, --dev, --tokens and --cmvn or --init, is trained by several workers with 'torchrun
    --standalone --nproc-per-node 2 -m recitative train ...', and 'recitative average EXP' makes its model. The model of
    any other kind is that of the best epoch, OUTPUT/model. Watch the run with 'tensorboard --logdir EXP/tensorboard'.
    """
    options = {
        "train": train, "dev": dev, "tokens": tokens, "lexicon": lexicon, "cmvn": cmvn, "init": init,
        "teacher": teacher, "unlabelled": unlabelled, "alternatives": alternatives, "skip_bad": skip_bad,
        "lower": lower, "keep_stress": keep_stress,
    }  # fmt: skip
    _run(KINDS, output, arguments or (), conf, options, quiet)


def _run(
    kinds: Sequence[ModelKind],
    output: Path,
    arguments: Sequence[str],
    conf: Path | None,
    options: dict[str, Any],
    quiet: bool,
) -> None:
    """Options that are None, empty or False are not given. kinds: see ``load_training``."""
    overrides = [text for text in arguments if "=" in text and not Path(text).exists()]
    files = [*([conf] if conf else []), *(Path(text) for text in arguments if text not in overrides)]
    if len(files) > 1:
        raise UsageError(f"two settings files, {files[0]} and {files[1]}; give one")
    given = {name: value for name, value in options.items() if value}
    if len(given.get("train", ())) == 1:
        [given["train"]] = given["train"]
    kind, settings, data = load_training(files[0] if files else None, overrides, given, kinds)
    from recitative.train.distributed import is_first_rank
    from recitative.train.run import train_model

    trained = train_model(kind, settings, data, output, quiet=quiet)
    if is_first_rank():
        print(trained)


def _older_verb(kinds: Sequence[ModelKind]) -> Callable[..., None]:
    """The form that release 0.1 had for some kinds."""

    def train(
        train: TrainOption,
        output: OutputOption,
        arguments: Arguments = None,
        dev: DevOption = None,
        conf: ConfOption = None,
        cmvn: CmvnOption = None,
        skip_bad: SkipBadOption = False,
        quiet: QuietOption = False,
    ) -> None:
        """The older form of 'recitative train'."""
        options = {"train": train, "dev": dev, "cmvn": cmvn, "skip_bad": skip_bad}
        _run(kinds, output, arguments or (), conf, options, quiet)

    return train


train_classifier = _older_verb([CLASSIFIER])
train_forecaster = _older_verb([FORECASTER])
train_music = _older_verb(MUSIC_KINDS)
train_sound = _older_verb(SOUND_KINDS)


def train_recurrent(
    inputs: Annotated[list[str], typer.Argument(metavar="TEXT... [SECTION.KEY=VALUE...]")],
    dev: DevOption,
    output: OutputOption,
    unit: Annotated[TextUnit | None, typer.Option(help="What is predicted; also text.unit.")] = None,
    conf: ConfOption = None,
    quiet: QuietOption = False,
) -> None:
    """The older form of 'recitative train' with 'kind: language_model'."""
    overrides = [text for text in inputs if "=" in text and not Path(text).exists()]
    texts = [Path(text) for text in inputs if text not in overrides]
    overrides += [f"text.unit={unit}"] if unit else []
    _run([LANGUAGE_MODEL], output, overrides, conf, {"train": texts, "dev": dev}, quiet)


def train_g2p(
    dictionary: Annotated[Path, typer.Argument(help="A pronunciation dictionary, such as CMU's cmudict.dict.")],
    output: OutputOption,
    settings: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE...]")] = None,
    conf: ConfOption = None,
    lower: LowerOption = False,
    keep_stress: KeepStressOption = False,
    quiet: QuietOption = False,
) -> None:
    """The older form of 'recitative train' with 'kind: g2p'."""
    options = {"train": [dictionary], "lower": lower, "keep_stress": keep_stress}
    _run([G2P], output, settings or (), conf, options, quiet)
