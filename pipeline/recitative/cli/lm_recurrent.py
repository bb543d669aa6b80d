"""``recitative lm``, its recurrent model: train one, ask it for the next word, put it into one file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.notes import NotesFile, read_notes
from recitative.cli.prompts import open_recurrent, read_prompts, warn_of_unknown


def predict(
    prompts: Annotated[list[str], typer.Argument(help="Beginnings of sentences; '-' for those on stdin, one a line.")],
    model: Annotated[Path, typer.Option(help="A language model's folder, or a file from 'recitative lm export'.")],
    count: Annotated[int, typer.Option(min=1, help="How many words.")] = 5,
) -> None:
    """Print the likeliest next words, each with its probability, the likeliest first; '</s>' ends the sentence.

    Several prompts are printed one after another, each word behind its prompt and a tab.
    """
    from recitative.lm.next_words import next_words

    scorer = open_recurrent(model, "predict")
    several = len(prompts) > 1 or "-" in prompts
    for prompt in read_prompts(prompts):
        warn_of_unknown(scorer, prompt)
        before = f"{prompt}\t" if several else ""
        for entry in next_words(scorer, prompt, count):
            print(f"{before}{math.exp(entry.log_prob):.4f} {entry.word}")


def export(
    model: Annotated[Path, typer.Argument(help="A language model's folder, such as EXP/model.")],
    output: Annotated[Path, typer.Option(help="The file to write, such as lm.onnx.")],
    notes: NotesFile = None,
) -> None:
    """Write the network with its state as inputs and outputs, settings and vocabulary into one file.

    The file runs without PyTorch.
    """
    from recitative.export.file import export_folder
    from recitative.lm.kind import LANGUAGE_MODEL

    size = export_folder(model, [LANGUAGE_MODEL], output, notes=read_notes(notes))
    print(f"{output}: float32, {size / 1e6:.1f} MB")
