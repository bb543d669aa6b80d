"""``recitative train``: train a model of any kind, or resume a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from recitative.anomaly.kind import FORECASTER
from recitative.asr.g2p_kind import G2P
from recitative.classification.kind import CLASSIFIER
from recitative.errors import UsageError
from recitative.kinds import KINDS, MUSIC_KINDS, SOUND_KINDS, load_training
from recitative.lm.kind import LANGUAGE_MODEL
from recitative.model.kind import AnyKind
from recitative.text.vocabulary import TextUnit

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
    init: Annotated[Path | None, typer.Option(help="Fine-tune this model folder. Its tokens may differ.")] = None,
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
    kinds: Sequence[AnyKind],
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


def _older_verb(kinds: Sequence[AnyKind]) -> Callable[..., None]:
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
