"""``recitative lm``, its recurrent model: train one, ask it for the next word, put it into one file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.prompts import open_recurrent, read_prompts, warn_of_unknown


def predict(
    prompts: Annotated[list[str], typer.Argument(help="Beginnings of sentences. '-': one per line on stdin.")],
    model: Annotated[Path, typer.Option(help="Language model: model folder or exported file.")],
    count: Annotated[int, typer.Option(min=1, help="Number of words.")] = 5,
) -> None:
    """Print the most probable next words with their probabilities. '</s>' is the end of the sentence.

    \b
    recitative lm predict 'the cat' --model exp/rnnlm/model
    """
    from recitative.lm.next_words import next_words

    scorer = open_recurrent(model, "predict")
    several = len(prompts) > 1 or "-" in prompts
    for prompt in read_prompts(prompts):
        warn_of_unknown(scorer, prompt)
        before = f"{prompt}\t" if several else ""
        for entry in next_words(scorer, prompt, count):
            print(f"{before}{math.exp(entry.log_prob):.4f} {entry.word}")
