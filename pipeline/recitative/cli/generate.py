"""``recitative generate``: music, text."""

from __future__ import annotations

import typer

from recitative.cli.generate_music import music

app = typer.Typer(no_args_is_help=True, help="Write music with a trained model.")
app.command()(music)
