"""``recitative``: every verb of the command line, and older names of verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from recitative.anomaly.detector import FORECASTER
from recitative.asr.kind import G2P
from recitative.classification.classifier import CLASSIFIER
from recitative.cli import evaluate
from recitative.cli.classify import anomaly, classify, detect, threshold
from recitative.cli.data import app as data
from recitative.cli.data import check, cmvn, features, folds, hold_out, lexicon, shards, tokens
from recitative.cli.doctor import doctor
from recitative.cli.evaluate import explore, export, info, models, report, score
from recitative.cli.generate import app as generate
from recitative.cli.keywords import app as keywords
from recitative.cli.keywords import spot
from recitative.cli.language import add_words, g2p, lm
from recitative.cli.live import listen, serve
from recitative.cli.music import app as music
from recitative.cli.music import check_constraints, melody
from recitative.cli.recognize import align, average, decode, rescore, transcribe, tune
from recitative.cli.sound import vocode
from recitative.cli.start import new_app, run, unwrap_help
from recitative.cli.train import QuietOption, adapt, find_batch_size, init_config, train, train_kind
from recitative.kinds import MUSIC_KINDS, SOUND_KINDS
from recitative.lm.recurrent import LANGUAGE_MODEL
from recitative.model.kind import ModelKind
from recitative.text.tokens import TextUnit

Verb = Callable[..., None]
app = new_app()
PANELS: dict[str, tuple[Verb | typer.Typer, ...]] = {
    "Use": (transcribe, listen, classify, detect, models, info, add_words, doctor, keywords),
    "Train": (init_config, find_batch_size, train, average, adapt, lm, g2p),
    "Evaluate": (decode, tune, rescore, align, score, report, explore, export, anomaly),
    "Data": (check, tokens, lexicon, features, cmvn, shards, data),
    "Music and sound": (melody, vocode, generate, music),
    "Serve": (serve,),
}
for panel, verbs in PANELS.items():
    for verb in verbs:
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(verb)


def main() -> None:
    """Run the command line."""
    run(app)


# Verbs of release 0.1 under their old names, hidden in the help. They will be removed in 0.3.


def _train_only(kinds: Sequence[ModelKind]) -> Verb:
    @wraps(train)
    def verb(output: Path, arguments: list[str] | None, conf: Path | None, quiet: bool, **options: Any) -> None:
        train_kind(kinds, output, arguments, conf, quiet, options)

    return verb


def _export_older(
    model: Annotated[Path, typer.Argument(metavar="MODEL")],
    output: Annotated[Path, typer.Option()],
    int8: Annotated[bool, typer.Option("--int8")] = False,
    notes: evaluate.NotesOption = None,
) -> None:
    export(model, output, weights="int8" if int8 else "auto", notes=notes)


def train_recurrent(
    inputs: Annotated[list[str], typer.Argument(metavar="TEXT... [SECTION.KEY=VALUE...]")],
    dev: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    unit: Annotated[TextUnit | None, typer.Option()] = None,
    conf: Annotated[Path | None, typer.Option()] = None,
    quiet: QuietOption = False,
) -> None:
    overrides = [text for text in inputs if "=" in text and not Path(text).exists()]
    texts = [Path(text) for text in inputs if text not in overrides]
    overrides += [f"text.unit={unit}"] if unit else []
    train_kind([LANGUAGE_MODEL], output, overrides, conf, quiet, {"train": texts, "dev": dev})


def _train_g2p(
    dictionary: Annotated[Path, typer.Argument()],
    output: Annotated[Path, typer.Option()],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE...]")] = None,
    conf: Annotated[Path | None, typer.Option()] = None,
    lower: Annotated[bool, typer.Option("--lower")] = False,
    keep_stress: Annotated[bool, typer.Option("--keep-stress")] = False,
    quiet: QuietOption = False,
) -> None:
    options = {"train": [dictionary], "lower": lower, "keep_stress": keep_stress}
    train_kind([G2P], output, settings, conf, quiet, options)


OLD_VERBS: dict[str, Verb] = {
    "suggest": init_config,
    "tune-batch": find_batch_size,
    "spot": spot,
    "watch": detect,
    "data hold-out": hold_out,
    "lm export": _export_older,
    "lm train-recurrent": train_recurrent,
    "g2p train": _train_g2p,
    "classifier train": _train_only([CLASSIFIER]),
    "classifier score": score,
    "classifier report": report,
    "classifier folds": folds,
    "forecaster train": _train_only([FORECASTER]),
    "forecaster threshold": threshold,
    "forecaster score": score,
    "forecaster export": _export_older,
    "music kept": check_constraints,
    "music train": _train_only(MUSIC_KINDS),
    "music score": score,
    "music report": report,
    "music export": _export_older,
    "sound train": _train_only(SOUND_KINDS),
    "sound score": score,
    "sound export": _export_older,
}
_groups = {"data": data, "g2p": g2p, "lm": lm, "music": music}
for words, verb in OLD_VERBS.items():
    group, _, name = words.rpartition(" ")
    if group and group not in _groups:
        _groups[group] = typer.Typer()
        app.add_typer(_groups[group], name=group, hidden=True)
    (_groups[group] if group else app).command(name, hidden=True)(verb)

unwrap_help(app)
