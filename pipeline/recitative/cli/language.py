"""``recitative tokens``, ``lexicon``, ``lm``, ``g2p`` and ``add-words``: tokens, pronunciations and language models;
``score`` for models of text.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from recitative import pretrained
from recitative.asr import pronunciation
from recitative.asr.pronunciation import MOST, PROBABILITY, LetterToSound
from recitative.atomic import write_text
from recitative.cli.options import (
    PRONOUNCERS,
    RECOGNIZERS,
    Record,
    complete,
    find_model,
    open_lm,
    open_pronouncer,
    opening,
    print_note,
)
from recitative.data.directory import read_transcripts, require_ids
from recitative.data.tables import words_of
from recitative.errors import DataError, UsageError, counted
from recitative.lm.arpa import Perplexity, measure_sentence, write_arpa
from recitative.lm.estimate import NgramSettings, Sentences, TrainedNgram, read_sentences, read_vocabulary
from recitative.lm.estimate import train as train_ngram
from recitative.lm.ngram import read_lm
from recitative.terminal import progress_bar, track
from recitative.text.tokens import Lexicon, TokenTable, Unit, learn_pieces, name_of, read_dictionary

if TYPE_CHECKING:
    from recitative.lm.recurrent import RecurrentLanguageModel

N = TypeVar("N", int, float)
lm = typer.Typer(
    name="lm", no_args_is_help=True, help="Language models, n-gram and recurrent: train, measure, predict words."
)
g2p = typer.Typer(name="g2p", no_args_is_help=True, help="Letter-to-sound models: pronounce words.")

Texts = Annotated[list[Path], typer.Argument(help="Kaldi text tables, data directories, or text files with --plain.")]
Plain = Annotated[
    bool | None,
    typer.Option("--plain/--no-plain", help="Texts have one sentence per line, without ids. Default: detected."),
]


@lm.command()
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
    recitative lm train news.txt books.txt --plain --order 4 --prune 1e-8 --output data/lm.arpa.gz
    """
    settings = NgramSettings(
        order, _parse_numbers(min_count, int, "--min-count"), prune, _parse_numbers(weights, float, "--weights")
    )
    total, done = 2 * len(texts) + 6, itertools.count()
    with progress_bar("train") as show:

        def step(title: str) -> None:
            show(next(done), total, title)

        def read(path: Path) -> Sentences:
            step(f"read {path}")
            return read_sentences(path, plain=plain)

        sources = [read(text) for text in texts]
        dev_text = read(dev) if dev else None
        extra_words = set(read_vocabulary(vocab)) if vocab else set()
        trained = train_ngram(sources, settings, dev=dev_text, extra_words=extra_words, step=step)
        step("write")
        write_arpa(output, trained.table)
    _print_empty([*sources, *([dev_text] if dev_text else [])])
    _print_ngrams(output, trained)


def _parse_numbers(text: str, kind: Callable[[str], N], option: str) -> tuple[N, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if text)
    except ValueError:
        numbers, example = ("whole numbers", "1,1,2") if kind is int else ("numbers", "0.7,0.3")
        raise UsageError(f"{option} {text}: give {numbers} with commas between, such as {example}") from None


def _print_empty(sources: list[Sentences]) -> None:
    for source in sources:
        if source.empty:
            print_note(f"{source.name}: {counted(source.empty, 'line')} without words left out")


def _print_ngrams(output: Path, trained: TrainedNgram) -> None:
    print(f"{output}: {len(trained.table.orders)}-gram model")
    for n, (order, before) in enumerate(zip(trained.table.orders, trained.unpruned.orders, strict=True), start=1):
        left = f" of {len(before)} before pruning" if len(order) != len(before) else ""
        print(f"{n}-grams {len(order):>10}{left}")
    for part in trained.parts:
        orders = []
        for n, discounts in enumerate(part.discounts, start=1):
            values = " ".join(f"{value:.3f}" for value in discounts.values)
            orders.append(f"{n}-grams {values}{'' if discounts.measured else ' (too little text to measure them)'}")
        print(f"discounts of {part.name}: {'; '.join(orders)}")
    for part in trained.parts if len(trained.parts) > 1 else ():
        print(f"weight {part.weight:.4f} of {part.name}{f': {part.dev.line()}' if part.dev else ''}")
    if trained.unpruned_dev:
        print(f"before pruning: {trained.unpruned_dev.line()}")
    if trained.dev:
        print(f"dev: {trained.dev.line()}")


@lm.command()
def compress(
    model: Annotated[Path, typer.Argument(help="n-gram model: ARPA file, plain or gzipped, or packed file.")],
    output: Annotated[Path, typer.Option(help="Packed file to write, for 'tune --lm' and 'decode --lm'.")],
    bits: Annotated[int, typer.Option(min=8, max=32, help="Bits per number. 32: lossless.")] = 8,
) -> None:
    """Pack an n-gram model: a third of the size of gzipped ARPA, and it opens a hundred times as fast.

    \b
    recitative lm compress data/lm.arpa --output data/lm.ngram
    recitative lm compress data/lm.arpa.gz --bits 32 --output data/lm.ngram  # lossless
    """
    if bits not in (8, 32):
        raise UsageError(f"--bits {bits}: must be 8 or 32")
    with progress_bar(f"read {model.name}") as show:
        whole = read_lm(model, show)
    with progress_bar("pack"):
        packed = (whole.quantized() if bits == 8 else whole).to_text()
        write_text(output, packed)
    print(f"{output}: {whole.order}-gram model, {sum(whole.sizes)} n-grams, {len(packed) / 1e6:.1f} MB")


@lm.command()
def perplexity(
    model: Annotated[Path, typer.Argument(help="Language model: ARPA, packed or recurrent.")],
    texts: Texts,
    plain: Plain = None,
) -> None:
    """Print the perplexity of texts.

    \b
    recitative lm perplexity data/lm.arpa data/dev data/test
    recitative lm perplexity exp/rnnlm/model sentences.txt --plain
    """
    sources = [read_sentences(text, plain=plain) for text in texts]
    with progress_bar(f"read {model.name}") as show:
        opened = open_lm(model, show)
    _print_empty(sources)
    total = Perplexity()
    for source in sources:
        lines = track(source.lines, source.name, len(source.lines))
        measured = sum((measure_sentence(opened, line) for line in lines), Perplexity())
        print(f"{source.name}: {measured.line()}")
        total += measured
    if len(sources) > 1:
        print(f"together: {total.line()}")


@lm.command()
def predict(
    prompts: Annotated[list[str], typer.Argument(help="Beginnings of sentences. '-': one per line on stdin.")],
    model: Annotated[Path, typer.Option(help="Language model: model folder or exported file.")],
    count: Annotated[int, typer.Option(min=1, help="Number of words.")] = 5,
) -> None:
    """Print the most probable next words with their probabilities. '</s>' is the end of the sentence.

    \b
    recitative lm predict 'the cat' --model exp/rnnlm/model
    recitative lm predict 'good morning' 'how are' --model rnnlm.onnx --count 3
    """
    from recitative.lm.recurrent import next_words

    scorer = open_recurrent(model, "predict")
    several = len(prompts) > 1 or "-" in prompts
    for prompt in read_prompts(prompts):
        warn_of_unknown_symbols(scorer, prompt)
        before = f"{prompt}\t" if several else ""
        for entry in next_words(scorer, prompt, count):
            print(f"{before}{math.exp(entry.log_prob):.4f} {entry.word}")


# Prompts for a recurrent language model, as arguments or on stdin


def open_recurrent(model: Path, verb: str) -> RecurrentLanguageModel:
    """Open a recurrent language model. Raises UsageError for an n-gram model, DataError for other files."""
    from recitative.lm.recurrent import RecurrentLanguageModel

    with opening(model):
        scorer = open_lm(model)
    if not isinstance(scorer, RecurrentLanguageModel):
        raise UsageError(f"{model}: is an n-gram model; '{verb}' requires a recurrent one")
    return scorer


def read_prompts(prompts: Sequence[str]) -> Iterable[str]:
    """The prompts; each '-' is replaced by the lines of stdin."""
    for prompt in prompts:
        if prompt != "-":
            yield prompt
            continue
        try:
            yield from (line.rstrip("\r\n") for line in sys.stdin)
        except UnicodeDecodeError:
            raise DataError("stdin", "is not UTF-8", "one prompt a line", "convert it") from None


def warn_of_unknown_symbols(scorer: RecurrentLanguageModel, prompt: str) -> None:
    """Print on stderr the symbols of a prompt that the model reads as unknown."""
    unknown = scorer.vocabulary.count_unknown([prompt])
    if unknown:
        listed = ", ".join(f"'{symbol}'" for symbol in sorted(unknown))
        print_note(f"prompt '{prompt}': {listed} not in the vocabulary, read as unknown")


# ``recitative g2p`` and ``add-words``


@g2p.command()
def pronounce(
    model: Annotated[
        Path,
        typer.Argument(
            help="Letter-to-sound model: pretrained name, model folder, or exported file.",
            autocompletion=complete(*PRONOUNCERS),
        ),
    ],
    words: Annotated[list[str], typer.Argument(help="Words. '-': read them from stdin.")],
) -> None:
    """Print the most probable pronunciation of each word, as in a lexicon.

    The exit status is 1 if a word has unknown letters.

    \b
    recitative g2p pronounce exp/g2p/model hello world
    recitative g2p pronounce en-g2p - < names.txt
    """
    words = [word for given in words for word in (sys.stdin.read().split() if given == "-" else [given])]
    opened = open_pronouncer(model)
    with progress_bar("pronounce"):
        pronunciations = opened.pronounce(words)
    for word in words:
        if word in pronunciations:
            print(f"{word} {' '.join(pronunciations[word])}")
    if unknown := [word for word in dict.fromkeys(words) if word not in pronunciations]:
        allowed = f"letters of {''.join(opened.letters.symbols[1:])}"
        raise DataError(str(model), f"cannot pronounce {', '.join(map(repr, unknown))}", allowed, "spell it otherwise")


def open_letter_to_sound(model: str) -> LetterToSound | None:
    """A letter-to-sound model that is opened when needed. Default: the pretrained one, if it is there."""
    name = model or (pretrained.G2P if pretrained.path_of(pretrained.G2P) else "")
    return LetterToSound(name, partial(open_pronouncer, Path(name))) if name else None


SHOWN_KNOWN = 20


def add_words(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Exported recognizer, or name of a pretrained one.",
            autocompletion=complete(*RECOGNIZERS),
        ),
    ],
    words: Annotated[
        Path, typer.Option(help="Words to add, one per line; a pronunciation may follow: 'word PH PH ...'.")
    ],
    output: Annotated[Path, typer.Option(help="File to write, such as new.onnx.")],
    g2p: Annotated[
        str,
        typer.Option(
            help="Letter-to-sound model for words without a pronunciation: model folder, exported file or name. "
            f"Default: the pretrained {pretrained.G2P}."
        ),
    ] = "",
    log_prob: Annotated[
        float | None,
        typer.Option(
            min=-100,
            max=0,
            help="Natural logarithm of each word's probability in the language model; higher: found more often. "
            f"Default: of {PROBABILITY:g}, or of {MOST:g} over the number of words if that is less.",
        ),
    ] = None,
) -> None:
    """Add words, such as names, to an exported recognizer that decodes with a lexicon, without training.

    Words that the model has are left as they are; further pronunciations are added. Prints what was added.

    \b
    recitative add-words model.onnx --words names.txt --g2p exp/g2p/model --output new.onnx
    recitative add-words an4-streaming --words names.txt --output new.onnx --log-prob -5
    recitative transcribe talk.wav --model new.onnx
    """
    with progress_bar("add words"):
        made = pronunciation.add_words(find_model(model), words, output, open_letter_to_sound(g2p), log_prob)
    rows = [("word", "pronunciation", "from")] if made.pronounced else []
    rows += [(one.word, " ".join(map(name_of, one.pronunciation)), one.source) for one in made.pronounced]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    if made.known:
        some = ", ".join(made.known[:SHOWN_KNOWN]) + (", ..." if len(made.known) > SHOWN_KNOWN else "")
        print_note(f"{model}: has {len(made.known)} of the words already: {some}")
    scored = f"; {len(made.scored)} new to the language model, ln P {made.log_prob:.2f}" if made.scored else ""
    words_added = counted(len({one.word for one in made.pronounced}), "word")
    print(f"{output}: {words_added}, {counted(len(rows[1:]), 'pronunciation')} added{scored}")


# ``recitative score``


SHOWN = 20  # words out of vocabulary


def tokens(
    data_dirs: Annotated[list[Path], typer.Argument(help="Data directories; for --unit phone, lexicons.")],
    output: Annotated[Path, typer.Option(help="Token table to write, such as data/tokens.txt.")],
    unit: Annotated[
        Unit,
        typer.Option(
            help="Unit of a token. word: for small closed vocabularies; piece: for tens of hours of speech or more."
        ),
    ] = "character",
    size: Annotated[int | None, typer.Option(min=2, help="Number of tokens for --unit piece, with the blank.")] = None,
) -> None:
    """Make a token table: characters, words, sentence pieces or phones.

    Id 0 is the blank of CTC.

    \b
    recitative tokens data/train data/dev --output data/tokens.txt
    recitative tokens data/train --unit piece --size 256 --output data/tokens.txt
    """
    if (unit == "piece") != (size is not None):
        raise UsageError("--size and --unit piece require each other; such as --size 256 for a few hours of speech")
    if unit == "phone":
        texts = [" ".join(Lexicon.read(lexicon).symbols) for lexicon in data_dirs]
    else:
        texts = _read_texts(data_dirs)
    if not any(texts):
        raise DataError(str(data_dirs[0] / "text"), "has no characters", "at least one word", "add the transcripts")
    if unit == "piece":
        assert size
        with progress_bar("learn pieces"):
            table = TokenTable.of_pieces(learn_pieces(texts, size - 1))  # and the blank
    else:
        table = TokenTable.from_texts(texts, unit)
    if table.unit != unit:
        found = f"has {unit}s that look like {table.unit}s"
        raise DataError(str(data_dirs[0]), found, f"some {unit}s of several letters", "rename one, such as 'A' to 'AA'")
    table.write(output)
    source = "lexicon" if unit == "phone" else "transcript"
    print(f"{output}: {counted(len(table), 'token')} from {counted(len(texts), source)}")


def _read_texts(data_dirs: list[Path]) -> list[str]:
    """All transcripts. Raises DataError for text files without utterance ids."""
    for data_dir in data_dirs:
        require_ids(data_dir, "name a data directory, or a table of 'utterance words...' lines")
    with progress_bar("read transcripts"):
        return [words_of(row.value) for data_dir in data_dirs for row in read_transcripts(data_dir)]


def lexicon(
    data_dirs: Annotated[list[Path], typer.Argument(help="Data directories or text tables.")],
    output: Annotated[Path, typer.Option(help="Lexicon to write, such as data/lexicon.txt.")],
    dictionary: Annotated[
        Path | None, typer.Option(help="Pronunciation dictionary with lines 'word phone phone ...', such as CMU's.")
    ] = None,
    tokens: Annotated[Path | None, typer.Option(help="Spell words with the characters of this token table.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Keep all words of the dictionary.")] = False,
    lower: Annotated[bool, typer.Option("--lower", help="Convert the dictionary to lower case.")] = False,
    keep_stress: Annotated[
        bool,
        typer.Option("--keep-stress", help="Keep stress marks: AH0 and AH1 are different phones."),
    ] = False,
    guess: Annotated[
        Path | None,
        typer.Option(help="Letter-to-sound model (folder or exported file) for words that the dictionary lacks."),
    ] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out words without a pronunciation. Default: an error.")
    ] = False,
) -> None:
    """Make a lexicon of the words in transcripts, and report words without a pronunciation.

    Training uses the first pronunciation of a word; decoding and alignment use all.

    \b
    recitative lexicon data/train --dictionary cmudict.dict --output data/lexicon.txt
    recitative lexicon data/train data/dev --tokens data/tokens.txt --output data/lexicon.txt  # as spelled
    """
    if (dictionary is None) == (tokens is None):
        raise UsageError("give either --dictionary (words in phones) or --tokens (words in characters)")
    if (whole or guess) and not dictionary:
        raise UsageError(f"{'--whole' if whole else '--guess'}: requires --dictionary")
    texts = _read_texts(data_dirs)
    words = sorted({word for text in texts for word in text.split()})
    if dictionary:
        known = read_dictionary(dictionary, lower, keep_stress)
    else:
        assert tokens
        table = TokenTable.read(tokens)
        known = Lexicon.of_spelling([word for word in words if not (skip_unknown and table.unknown(word))], table)
    if guess and (lacking := known.unknown(texts)):
        known = _with_guesses(known, lacking, guess)
    unknown = known.unknown(texts)
    for word, count in unknown.most_common(SHOWN):
        print_note(f"out of vocabulary: {word} ({counted(count, 'time')})")
    if len(unknown) > SHOWN:
        print_note(f"out of vocabulary: and {counted(len(unknown) - SHOWN, 'more word')}")
    if unknown and not skip_unknown:
        share = f"{unknown.total()} of {len(' '.join(texts).split())}"
        found = f"lacks {counted(len(unknown), 'word')} of the transcripts ({share})"
        raise DataError(str(dictionary or tokens), found, "all of them", "add them, or give --skip-unknown")
    made = known if whole else known.only(words)
    made.write(output)
    ways = sum(map(len, made.entries.values()))
    print(
        f"{output}: {counted(len(made), 'word')}, {counted(ways, 'pronunciation')}, "
        f"{counted(len(unknown), 'word')} out of vocabulary"
    )


def _with_guesses(known: Lexicon, lacking: Counter[str], model: Path) -> Lexicon:
    """The lexicon with pronunciations by a letter-to-sound model. Raises DataError if the model has other phones."""
    g2p = open_pronouncer(model)
    if other := sorted(set(g2p.phones.symbols[1:]) - set(known.symbols)):
        lacks = f"has {', '.join(other[:5])}, phones that the dictionary lacks"
        raise DataError(
            str(model), lacks, "the dictionary's phones", "train it on this dictionary, with the same stress"
        )
    with progress_bar("pronounce"):
        found = g2p.pronounce(lacking)
    print_note(f"{model}: {len(found)} of {len(lacking)} words that the dictionary lacks pronounced")
    return Lexicon({**known.entries, **{word: (phones,) for word, phones in found.items()}})


def score(model: Path, data: Path) -> None:
    """Print the perplexity of a text."""
    perplexity(model, [data])


def score_punctuation(model: Path, data: Path, record: Record) -> None:
    """Print precision, recall and F1 of marks and capitals on a text file, a passage on each line."""
    from recitative.kinds import open_stage
    from recitative.punctuation.punctuator import (
        PUNCTUATION,
        Punctuator,
        mean_f1,
        read_lines,
        read_written,
        score_passages,
    )
    from recitative.score.results import Measurement

    _, stage, settings, extras = open_stage(pretrained.find(model), [PUNCTUATION])
    punctuator = Punctuator(stage, extras["vocabulary"], settings.model.buckets)
    passages = [read_written(line) for line in read_lines(data)]
    scores = score_passages(punctuator, track(passages, "score passages", len(passages)))
    for kind, score in scores.items():
        rates = f"precision {score.precision:6.1%}  recall {score.recall:6.1%}  F1 {score.f1:6.1%}"
        print(f"{kind:<9} {rates}  [ {score.right} / {score.written} ]")
    print(f"mean F1 {mean_f1(scores):.1%}")
    measured = [
        Measurement(f"% F1 {kind}", 100 * score.f1, f"{score.right} / {score.written}")
        for kind, score in scores.items()
    ]
    record.write(measured, settings)
