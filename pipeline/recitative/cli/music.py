"""``recitative music``: checks of folders of music and of generated pieces."""

from __future__ import annotations

import typer

from recitative.cli.music_check import check
from recitative.cli.music_kept import kept

app = typer.Typer(name="music", no_args_is_help=True, help="Check folders of music, and generated pieces.")
app.command()(check)
app.command("check-constraints")(kept)
