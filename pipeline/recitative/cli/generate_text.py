"""``recitative generate text``: prompts continued by a recurrent language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.music_wishes import parse_sampling
from recitative.cli.prompts import open_recurrent, read_prompts, warn_of_unknown


def text(
    prompts: Annotated[list[str], typer.Argument(help="Beginnings of sentences; '-' for those on stdin, one a line.")],
    model: Annotated[Path, typer.Option(help="A language model's folder, or a file from 'recitative lm export'.")],
    count: Annotated[int, typer.Option(min=1, help="Lines for each prompt.")] = 1,
    words: Annotated[int, typer.Option(min=1, help="The most words that are added; a sentence may end before.")] = 20,
    temperature: Annotated[float, typer.Option(help="Above 1 more daring, below 1 more usual.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that together have this share.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Another number, other lines; the same, the same lines.")] = 1,
) -> None:
    """Print each prompt with what a language model adds to it, one line each; '' is a sentence from its beginning.

    What the model does not know is never written, though it may stand in a prompt.
    """
    from recitative.lm.composer import continue_text

    sampling = parse_sampling(temperature, top_p, "the likeliest word")
    scorer = open_recurrent(model, "generate text")
    for prompt in read_prompts(prompts):
        warn_of_unknown(scorer, prompt)
        print("\n".join(continue_text(scorer, prompt, sampling, words=words, count=count, seed=seed)))
