"""``recitative g2p``: letter-to-sound models, which pronounce words that no dictionary has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.errors import DataError

app = typer.Typer(
    no_args_is_help=True, help="Letter-to-sound models: train one on a pronunciation dictionary, ask it for words."
)

ModelArgument = Annotated[Path, typer.Argument(help="A letter-to-sound model's folder.")]


@app.command()
def pronounce(
    model: ModelArgument,
    words: Annotated[list[str], typer.Argument(help="Words; '-' for those on stdin.")],
) -> None:
    """Print the likeliest pronunciation of each word, 'word phone phone ...', as in a lexicon.

    Exit 1 if a word has letters that the model does not know.
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
