"""``recitative lm``: language models."""

from __future__ import annotations

import typer

from recitative.cli.lm_ngram import compress, perplexity, train
from recitative.cli.lm_recurrent import export, predict

app = typer.Typer(
    no_args_is_help=True,
    help="Language models: train them on text, n-gram or recurrent, measure them, ask them for the next word.",
)
for verb in (train, compress, perplexity, predict, export):
    app.command()(verb)
