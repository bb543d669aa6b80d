"""``recitative generate``: music, text, sound."""

from __future__ import annotations

import typer

from recitative.cli.generate_music import music
from recitative.cli.generate_sound import sound
from recitative.cli.generate_text import text

app = typer.Typer(no_args_is_help=True, help="Write music or text, or draw sound, with a trained model.")
for verb in (music, text, sound):
    app.command()(verb)
