"""``recitative find-batch-size``: how much fits into memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_text
from recitative.cli.progress import progress_bar
from recitative.config import load_settings


def find_batch_size(
    train_dir: Annotated[Path, typer.Option("--train", help="Data directory or folder of shards of the training set.")],
    tokens: Annotated[Path, typer.Option(help="Token table from 'recitative tokens'.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, such as model.recurrent.hidden=512.")] = None,
    conf: Annotated[Path | None, typer.Option(help="YAML settings file.")] = None,
    lexicon: Annotated[Path | None, typer.Option(help="Lexicon, if the tokens are phones.")] = None,
    memory_gb: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Memory per worker. Default: 80 % of the free memory of the GPU or of this machine."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Settings file to write, to be included by others.")] = None,
) -> None:
    """Measure the largest batch that fits into memory, for short and for long utterances.

    It is printed as the setting train.most_s.

    \b
    recitative find-batch-size --conf conf/lstm.yaml --train data/train --tokens data/tokens.txt
    """
    settings = load_settings(conf, overrides or ())
    from recitative.asr.memory import available_bytes, in_a_process_of_its_own, measure_step, tune_buckets
    from recitative.data.directory import DataDirectory
    from recitative.features.extraction import audio_durations_s
    from recitative.text.lexicon import Lexicon, spelling_of
    from recitative.text.tokens import TokenTable
    from recitative.train.distributed import choose_device

    device = choose_device(settings.train)
    table = TokenTable.read(tokens)
    spelling = spelling_of(table, Lexicon.read(lexicon, table) if lexicon else None)
    utterances = DataDirectory.read(train_dir).utterances
    seconds = audio_durations_s(utterances, settings.features.sample_rate)
    labels = sum(len(spelling.split(u.text or "")) for u in utterances)
    budget = round(1e9 * memory_gb) if memory_gb else round(0.8 * available_bytes(device))
    work = partial(measure_step, settings, table.symbols, str(device))
    buckets = []
    with progress_bar("tune-batch") as show:
        played_s = seconds / min(settings.augment.speeds)
        found = tune_buckets(played_s, labels / float(seconds.sum()), budget, in_a_process_of_its_own(work))
        for bucket in found:
            buckets.append(bucket)
            show(len(buckets), 3)
    print(f"# {device}, {budget / 1e9:.2f} GB, recompute={str(settings.train.recompute).lower()}")
    for bucket in buckets:
        print(f"# up to {bucket.longest_s:5.1f} s: {bucket.rows:6d} utterances, {bucket.peak / 1e9:.2f} GB")
    pairs = ", ".join(f"[{bucket.longest_s:g}, {bucket.most_s:.0f}]" for bucket in buckets)
    setting = f"most_s: [{pairs}]"
    print(f"train:\n  {setting}")
    if output:
        write_text(
            output, f"# Made by 'recitative find-batch-size': {budget / 1e9:.2f} GB on {device}.\ntrain:\n  {setting}\n"
        )
