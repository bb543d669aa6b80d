"""``recitative lm``: language models."""

from __future__ import annotations

import typer

from recitative.cli.lm_ngram import compress, perplexity, train
from recitative.cli.lm_recurrent import predict

app = typer.Typer(
    name="lm",
    no_args_is_help=True,
    help="Language models, n-gram and recurrent: train, measure, predict words.",
)
for verb in (train, compress, perplexity, predict):
    app.command()(verb)
