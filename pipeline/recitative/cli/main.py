"""``recitative``: every verb of the command line."""

from __future__ import annotations

from collections.abc import Callable

import typer

from recitative.cli import old
from recitative.cli.adapt import adapt
from recitative.cli.anomaly import anomaly, detect
from recitative.cli.check import check
from recitative.cli.classify import classify
from recitative.cli.data import app as data
from recitative.cli.decode import align, average, decode, rescore, tune
from recitative.cli.doctor import doctor
from recitative.cli.features import cmvn, features, shards
from recitative.cli.generate import app as generate
from recitative.cli.keywords import app as keywords
from recitative.cli.listen import listen
from recitative.cli.lm import app as lm
from recitative.cli.melody import melody
from recitative.cli.model import export, info, models, report, score
from recitative.cli.music import app as music
from recitative.cli.serve import serve
from recitative.cli.sound import vocode
from recitative.cli.start import new_app, run
from recitative.cli.text import add_words, lexicon, tokens
from recitative.cli.text import app as g2p
from recitative.cli.train import find_batch_size, init_config, train
from recitative.cli.transcribe import transcribe

app = new_app()
HEADINGS: dict[str, tuple[Callable[..., None] | typer.Typer, ...]] = {
    "Use a model": (
        models,
        transcribe,
        listen,
        serve,
        add_words,
        keywords,
        classify,
        detect,
        generate,
        melody,
        vocode,
        doctor,
    ),
    "Prepare data": (data, check, tokens, lexicon, g2p, features, cmvn, shards),
    "Train": (adapt, init_config, find_batch_size, train, average, lm, music),
    "Evaluate and export": (decode, tune, rescore, align, score, report, export, info, anomaly),
}
for heading, verbs in HEADINGS.items():
    for verb in verbs:
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, rich_help_panel=heading)
        else:
            app.command(rich_help_panel=heading)(verb)
old.add_to(app, {"data": data, "g2p": g2p, "lm": lm, "music": music})


def main() -> None:
    """Run it."""
    run(app)
