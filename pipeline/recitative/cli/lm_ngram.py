"""``recitative lm train``, ``compress`` and ``perplexity``: n-gram language models."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_text
from recitative.cli.models import open_lm
from recitative.cli.progress import progress_bar, track
from recitative.errors import UsageError
from recitative.lm.arpa import write_arpa
from recitative.lm.estimate import Discounts, NgramSettings, Sentences, TrainedNgram, read_sentences, read_vocabulary
from recitative.lm.estimate import train as train_ngram
from recitative.lm.ngram import read_lm
from recitative.lm.query import Perplexity, measure_sentence

Texts = Annotated[list[Path], typer.Argument(help="Kaldi text tables, or data directories that have one; see --plain.")]
Plain = Annotated[
    bool | None,
    typer.Option("--plain/--no-plain", help="Whether texts are one sentence a line, or each line begins with an id."),
]


def train(
    texts: Texts,
    output: Annotated[Path, typer.Option(help="The ARPA file to write; gzipped if its name ends in .gz.")],
    order: Annotated[int, typer.Option(min=1, help="Words in the longest n-gram.")] = 3,
    dev: Annotated[Path | None, typer.Option(help="A text that finds the weights; its perplexity is printed.")] = None,
    weights: Annotated[str, typer.Option(help="The share of every text's model in the mixture, such as 0.7,0.3.")] = "",
    vocab: Annotated[Path | None, typer.Option(help="Words to know beside those of the texts, one a line.")] = None,
    min_count: Annotated[
        str, typer.Option(help="For each order, how often an n-gram must be there to be listed, such as 1,1,2.")
    ] = "",
    prune: Annotated[
        float, typer.Option(help="Leave out n-grams without which the perplexity grows by less, such as 1e-8.")
    ] = 0.0,
    plain: Plain = None,
) -> None:
    """Make an n-gram model of texts, with interpolated modified Kneser-Ney smoothing.

    Several texts are joined. With --dev or --weights each gets a model of its own, and these are mixed: with the
    weights that suit --dev best, unless --weights has them.
    """
    settings = NgramSettings(order, _whole_numbers(min_count), prune, _shares(weights))
    with _steps(2 * len(texts) + 6) as step:
        sources = [_read(text, plain, step) for text in texts]
        dev_text = _read(dev, plain, step) if dev else None
        extra_words = set(read_vocabulary(vocab)) if vocab else set()
        trained = train_ngram(sources, settings, dev=dev_text, extra_words=extra_words, step=step)
        step("write")
        write_arpa(output, trained.table)
    _tell_empty([*sources, *([dev_text] if dev_text else [])])
    _print(output, trained)


def compress(
    model: Annotated[Path, typer.Argument(help="An n-gram model: an ARPA file, plain or gzipped, or a packed one.")],
    output: Annotated[Path, typer.Option(help="The packed file to write; 'tune --lm' and 'decode --lm' take it.")],
    bits: Annotated[int, typer.Option(min=8, max=32, help="8: each number is one of 255. 32: no loss.")] = 8,
) -> None:
    """Pack an n-gram model into a file that is a third of gzipped ARPA and opens a hundred times as fast."""
    if bits not in (8, 32):
        raise UsageError(f"--bits {bits}: must be 8 or 32")
    with progress_bar(f"read {model.name}") as show:
        whole = read_lm(model, show)
    packed = (whole.quantized() if bits == 8 else whole).to_text()
    write_text(output, packed)
    print(f"{output}: {whole.order}-gram model, {sum(whole.sizes)} n-grams, {len(packed) / 1e6:.1f} MB")


def perplexity(
    model: Annotated[Path, typer.Argument(help="An n-gram model, ARPA or packed, or a recurrent model.")],
    texts: Texts,
    plain: Plain = None,
) -> None:
    """Print how well a language model foresees texts: the perplexity of each, and of all if there are several."""
    sources = [read_sentences(text, plain=plain) for text in texts]
    with progress_bar(f"read {model.name}") as show:
        asked = open_lm(model, show)
    _tell_empty(sources)
    total = Perplexity()
    for source in sources:
        lines = track(source.lines, source.name, len(source.lines))
        measured = sum((measure_sentence(asked, line) for line in lines), Perplexity())
        print(f"{source.name}: {measured.line()}")
        total += measured
    if len(sources) > 1:
        print(f"together: {total.line()}")


@contextmanager
def _steps(total: int) -> Iterator[Callable[[str], None]]:
    """A bar that moves on whenever it is told what is done next."""
    done = itertools.count()
    with progress_bar("train") as show:
        yield lambda title: show(next(done), total, title)


def _read(path: Path, plain: bool | None, step: Callable[[str], None]) -> Sentences:
    step(f"read {path}")
    return read_sentences(path, plain=plain)


def _whole_numbers(listed: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in listed.split(",") if listed)
    except ValueError:
        raise UsageError(f"--min-count {listed}: give whole numbers with commas between, such as 1,1,2") from None


def _shares(listed: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in listed.split(",") if listed)
    except ValueError:
        raise UsageError(f"--weights {listed}: give numbers with commas between, such as 0.7,0.3") from None


def _tell_empty(sources: list[Sentences]) -> None:
    for source in sources:
        if source.empty:
            print(f"{source.name}: {source.empty} lines without words left out", file=sys.stderr)


def _print(output: Path, trained: TrainedNgram) -> None:
    print(f"{output}: {len(trained.table.orders)}-gram model")
    for n, (order, before) in enumerate(zip(trained.table.orders, trained.unpruned.orders, strict=True), start=1):
        left = f" of {len(before)} before pruning" if len(order) != len(before) else ""
        print(f"{n}-grams {len(order):>10}{left}")
    for part in trained.parts:
        orders = (f"{n}-grams {_discounts(one)}" for n, one in enumerate(part.discounts, start=1))
        print(f"discounts of {part.name}: {'; '.join(orders)}")
    for part in trained.parts if len(trained.parts) > 1 else ():
        print(f"weight {part.weight:.4f} of {part.name}{f': {part.dev.line()}' if part.dev else ''}")
    if trained.unpruned_dev:
        print(f"before pruning: {trained.unpruned_dev.line()}")
    if trained.dev:
        print(f"dev: {trained.dev.line()}")


def _discounts(discounts: Discounts) -> str:
    values = " ".join(f"{value:.3f}" for value in discounts.values)
    return values if discounts.measured else f"{values} (too little text to measure them)"
