"""``recitative lm``: n-gram and recurrent language models."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from recitative.atomic import write_text
from recitative.cli.models import open_lm
from recitative.cli.options import open_recurrent, read_prompts, warn_of_unknown
from recitative.errors import UsageError
from recitative.lm.arpa import write_arpa
from recitative.lm.estimate import Discounts, NgramSettings, Sentences, TrainedNgram, read_sentences, read_vocabulary
from recitative.lm.estimate import train as train_ngram
from recitative.lm.ngram import read_lm
from recitative.lm.query import Perplexity, measure_sentence
from recitative.terminal import progress_bar, track

Texts = Annotated[list[Path], typer.Argument(help="Kaldi text tables, data directories, or text files with --plain.")]
Plain = Annotated[
    bool | None,
    typer.Option("--plain/--no-plain", help="Texts have one sentence per line, without ids. Default: detected."),
]


def train(
    texts: Texts,
    output: Annotated[Path, typer.Option(help="ARPA file to write; gzipped if its name ends in .gz.")],
    order: Annotated[int, typer.Option(min=1, help="Order of the model.")] = 3,
    dev: Annotated[
        Path | None, typer.Option(help="Dev text. It selects the interpolation weights, and its perplexity is printed.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Interpolation weights of the texts, such as 0.7,0.3.")] = "",
    vocab: Annotated[Path | None, typer.Option(help="Further words of the vocabulary, one per line.")] = None,
    min_count: Annotated[str, typer.Option(help="Minimum count of n-grams of each order, such as 1,1,2.")] = "",
    prune: Annotated[
        float,
        typer.Option(
            help="Entropy pruning threshold: maximum relative increase of perplexity per n-gram, such as 1e-8."
        ),
    ] = 0.0,
    plain: Plain = None,
) -> None:
    """Train an n-gram model with interpolated modified Kneser-Ney smoothing.

    With --dev or --weights, one model per text is trained and interpolated; otherwise the texts are joined.

    \b
    recitative lm train data/train --order 3 --dev data/dev --output data/lm.arpa
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
    model: Annotated[Path, typer.Argument(help="n-gram model: ARPA file, plain or gzipped, or packed file.")],
    output: Annotated[Path, typer.Option(help="Packed file to write, for 'tune --lm' and 'decode --lm'.")],
    bits: Annotated[int, typer.Option(min=8, max=32, help="Bits per number. 32: lossless.")] = 8,
) -> None:
    """Pack an n-gram model: a third of the size of gzipped ARPA, and it opens a hundred times as fast.

    \b
    recitative lm compress data/lm.arpa --output data/lm.ngram
    """
    if bits not in (8, 32):
        raise UsageError(f"--bits {bits}: must be 8 or 32")
    with progress_bar(f"read {model.name}") as show:
        whole = read_lm(model, show)
    packed = (whole.quantized() if bits == 8 else whole).to_text()
    write_text(output, packed)
    print(f"{output}: {whole.order}-gram model, {sum(whole.sizes)} n-grams, {len(packed) / 1e6:.1f} MB")


def perplexity(
    model: Annotated[Path, typer.Argument(help="Language model: ARPA, packed or recurrent.")],
    texts: Texts,
    plain: Plain = None,
) -> None:
    """Print the perplexity of texts.

    \b
    recitative lm perplexity data/lm.arpa data/dev data/test
    """
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


def perplexity_of(model: Path, data: Path) -> None:
    """The same of one text."""
    perplexity(model, [data])


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


# ``recitative lm``, its recurrent model: train one, ask it for the next word, put it into one file.


def predict(
    prompts: Annotated[list[str], typer.Argument(help="Beginnings of sentences. '-': one per line on stdin.")],
    model: Annotated[Path, typer.Option(help="Language model: model folder or exported file.")],
    count: Annotated[int, typer.Option(min=1, help="Number of words.")] = 5,
) -> None:
    """Print the most probable next words with their probabilities. '</s>' is the end of the sentence.

    \b
    recitative lm predict 'the cat' --model exp/rnnlm/model
    """
    from recitative.lm.recurrent import next_words

    scorer = open_recurrent(model, "predict")
    several = len(prompts) > 1 or "-" in prompts
    for prompt in read_prompts(prompts):
        warn_of_unknown(scorer, prompt)
        before = f"{prompt}\t" if several else ""
        for entry in next_words(scorer, prompt, count):
            print(f"{before}{math.exp(entry.log_prob):.4f} {entry.word}")


# ``recitative lm``: language models.

app = typer.Typer(
    name="lm",
    no_args_is_help=True,
    help="Language models, n-gram and recurrent: train, measure, predict words.",
)
for verb in (train, compress, perplexity, predict):
    app.command()(verb)
