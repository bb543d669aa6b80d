"""``recitative g2p``: letter-to-sound models, which pronounce words that no dictionary has."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.asr.g2p_settings import G2PSettings
from recitative.cli.lexicon import read_dictionary
from recitative.config import load_tree
from recitative.errors import DataError

app = typer.Typer(
    no_args_is_help=True, help="Letter-to-sound models: train one on a pronunciation dictionary, ask it for words."
)

ModelArgument = Annotated[Path, typer.Argument(help="A letter-to-sound model's folder.")]


@app.command()
def train(
    dictionary: Annotated[Path, typer.Argument(help="A pronunciation dictionary, such as CMU's cmudict.dict.")],
    output: Annotated[Path, typer.Option(help="The experiment folder; a run found there is resumed.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings.")] = None,
    conf: Annotated[Path | None, typer.Option(help="A YAML settings file.")] = None,
    lower: Annotated[bool, typer.Option("--lower", help="Read the dictionary's words in lower case.")] = False,
    keep_stress: Annotated[bool, typer.Option("--keep-stress", help="Learn the stress marks too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a letter-to-sound model: recurrent, bidirectional, with CTC; the model of the best epoch is OUTPUT/model.

    One of ten words is held out and scores it. Stop it at any time: the same command goes on.
    """
    tree = load_tree(G2PSettings, conf, settings or [])
    entries = read_dictionary(dictionary, lower, keep_stress)
    from recitative.asr.g2p_training import train_g2p

    done = train_g2p(tree, entries, output, quiet=quiet)
    if done.left_out:
        print(f"{dictionary}: {done.left_out} words have too many phones for their letters", file=sys.stderr)
    progress = done.progress
    print(
        f"{done.folder}: {progress.epoch} epochs, {progress.step} steps in {progress.seconds:.0f} s; of {done.words} "
        f"words held out {done.word_error_rate:.2%} are wrong"
    )


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
