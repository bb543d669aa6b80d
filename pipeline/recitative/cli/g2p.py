"""``recitative g2p``: letter-to-sound models, which pronounce words that no dictionary has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.errors import DataError

app = typer.Typer(
    name="g2p",
    no_args_is_help=True,
    help="Letter-to-sound models: train, pronounce words.",
)

ModelArgument = Annotated[Path, typer.Argument(help="Letter-to-sound model folder.")]


@app.command()
@app.command()
def pronounce(
    model: ModelArgument,
    words: Annotated[list[str], typer.Argument(help="Words. '-': read them from stdin.")],
) -> None:
    """Print the most probable pronunciation of each word, as in a lexicon.

    The exit status is 1 if a word has unknown letters.

    \b
    recitative g2p pronounce exp/g2p/model hello world
    """
    from recitative.asr.g2p_kind import G2P
    from recitative.model.folder import load_model

    asked = [word for given in words for word in (sys.stdin.read().split() if given == "-" else [given])]
    opened = load_model(model, G2P)
    said = opened.pronounce(asked)
    for word in asked:
        if word in said:
            print(f"{word} {' '.join(said[word])}")
    if silent := [word for word in dict.fromkeys(asked) if word not in said]:
        allowed = f"letters of {''.join(opened.letters.symbols[1:])}"
        raise DataError(str(model), f"cannot pronounce {', '.join(map(repr, silent))}", allowed, "spell it otherwise")
