"""``recitative generate``: music, text, sound."""

from __future__ import annotations

import typer

from recitative.cli.generate_music import music
from recitative.cli.generate_sound import sound
from recitative.cli.generate_text import text

app = typer.Typer(name="generate", no_args_is_help=True, help="Generate music, text or sound.")
for verb in (music, text, sound):
    app.command()(verb)
