"""``recitative lm``, its recurrent model: train one, ask it for the next word, put it into one file."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.notes import NotesFile, read_notes
from recitative.cli.prompts import open_recurrent, read_prompts, warn_of_unknown
from recitative.config import load_tree
from recitative.errors import UsageError
from recitative.lm.settings import LanguageModelSettings
from recitative.text.vocabulary import TextUnit


def train_recurrent(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT... [SECTION.KEY=VALUE...]",
            help="Data directories or text tables to train on, and settings, such as train.epochs=10.",
        ),
    ],
    dev: Annotated[Path, typer.Option(help="The data directory or text table that chooses the model.")],
    output: Annotated[Path, typer.Option(help="The experiment folder; a run found there is resumed.")],
    unit: Annotated[TextUnit | None, typer.Option(help="What is predicted; also text.unit.")] = None,
    conf: Annotated[Path | None, typer.Option(help="A YAML settings file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a recurrent language model on transcripts; the model of the best epoch is OUTPUT/model.

    Stop it at any time: the same command goes on and ends in the same weights.
    """
    overrides = [text for text in inputs if "=" in text and not Path(text).exists()]
    texts = [Path(text) for text in inputs if text not in overrides]
    if not texts:
        raise UsageError("train-recurrent: no text given; name data directories or text tables")
    settings = load_tree(LanguageModelSettings, conf, [*overrides, *([f"text.unit={unit}"] if unit else [])])
    from recitative.lm.training import train_language_model

    done = train_language_model(settings, texts, dev, output, quiet=quiet)
    if done.unknown:
        examples = ", ".join(f"'{symbol}'" for symbol, _ in done.unknown.most_common(5))
        print(
            f"{dev}: {done.unknown.total()} {settings.text.unit}s are not in the vocabulary ({examples}"
            f"{', ...' if len(done.unknown) > 5 else ''}) and are scored as unknown",
            file=sys.stderr,
        )
    progress = done.progress
    print(
        f"{done.folder}: {progress.epoch} epochs, {progress.step} steps in {progress.seconds:.0f} s; best on dev: "
        f"epoch {int(progress.best[0][1]) + 1}, perplexity {done.perplexity:.2f} per word"
    )


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
