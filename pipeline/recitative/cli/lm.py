"""``recitative lm``: language models."""

from __future__ import annotations

import typer

from recitative.cli.lm_ngram import perplexity, train

app = typer.Typer(no_args_is_help=True, help="Language models: train them on text, measure their perplexity.")
for verb in (train, perplexity):
    app.command()(verb)
