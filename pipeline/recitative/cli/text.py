"""``recitative tokens``, ``lexicon``, ``g2p`` and ``add-words``: labels, pronunciations, vocabulary."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from recitative import pretrained
from recitative.asr import added_words
from recitative.asr.added_words import MOST, PROBABILITY, LetterToSound
from recitative.cli.models import find_model, open_pronouncer
from recitative.cli.options import (
    CommandOption,
    HowOption,
    NameOption,
    Record,
    ResultsOption,
    SetOption,
    TableOption,
)
from recitative.data.directory import read_transcripts, require_ids
from recitative.data.tables import words_of
from recitative.errors import DataError, UsageError
from recitative.text.lexicon import Lexicon, read_dictionary
from recitative.text.tokens import TokenTable, Unit, learn_pieces, name_of


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
        raise UsageError(
            "--size goes with --unit piece, and that needs it; such as --size 256 for a few hours of speech"
        )
    texts = _texts(data_dirs, unit)
    if not any(texts):
        raise DataError(str(data_dirs[0] / "text"), "has no characters", "at least one word", "add the transcripts")
    table = _table(texts, unit, size)
    if table.unit != unit:
        found = f"has {unit}s that look like {table.unit}s"
        raise DataError(str(data_dirs[0]), found, f"some {unit}s of several letters", "rename one, such as 'A' to 'AA'")
    table.write(output)
    source = "lexicons" if unit == "phone" else "transcripts"
    print(f"{output}: {len(table)} tokens from {len(texts)} {source}")


def _texts(data_dirs: list[Path], unit: Unit) -> list[str]:
    if unit == "phone":
        return [" ".join(Lexicon.read(lexicon).symbols) for lexicon in data_dirs]
    for data_dir in data_dirs:
        require_ids(data_dir, "name a data directory, or a table of 'utterance words...' lines")
    return [words_of(row.value) for data_dir in data_dirs for row in read_transcripts(data_dir)]


def _table(texts: list[str], unit: Unit, size: int | None) -> TokenTable:
    if unit != "piece":
        return TokenTable.from_texts(texts, unit)
    assert size is not None
    return TokenTable.of_pieces(learn_pieces(texts, size - 1))  # the blank is no piece


# ``recitative lexicon``: the lexicon of a corpus, from a pronunciation dictionary or from spelling.

SHOWN = 20


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
    """
    if (dictionary is None) == (tokens is None):
        raise UsageError("give either --dictionary (words in phones) or --tokens (words in characters)")
    if whole and not dictionary:
        raise UsageError("--whole: all words of what? It goes with --dictionary")
    for data_dir in data_dirs:
        require_ids(data_dir, "name a data directory, or a table of 'utterance words...' lines")
    if guess and not dictionary:
        raise UsageError("--guess: it pronounces what a dictionary lacks; it goes with --dictionary")
    texts = [words_of(row.value) for data_dir in data_dirs for row in read_transcripts(data_dir)]
    words = sorted({word for text in texts for word in text.split()})
    known = read_dictionary(dictionary, lower, keep_stress) if dictionary else _spelled(words, tokens, skip_unknown)
    if guess and (lacking := known.unknown(texts)):
        known = _guessed(known, lacking, guess)
    unknown = known.unknown(texts)
    for word, count in unknown.most_common(SHOWN):
        print(f"out of vocabulary: {word} ({count} times)", file=sys.stderr)
    if len(unknown) > SHOWN:
        print(f"out of vocabulary: and {len(unknown) - SHOWN} more words", file=sys.stderr)
    if unknown and not skip_unknown:
        found = f"lacks {len(unknown)} words of the transcripts ({unknown.total()} of {len(' '.join(texts).split())})"
        raise DataError(str(dictionary or tokens), found, "all of them", "add them, or give --skip-unknown")
    made = known if whole else known.only(words)
    made.write(output)
    ways = sum(map(len, made.entries.values()))
    print(f"{output}: {len(made)} words, {ways} pronunciations, {len(unknown)} words out of vocabulary")


def _guessed(known: Lexicon, lacking: Counter[str], model: Path) -> Lexicon:
    """With pronunciations by a letter-to-sound model. Raises DataError for one of other phones than the lexicon's."""
    g2p = open_pronouncer(model)
    if other := sorted(set(g2p.phones.symbols[1:]) - set(known.symbols)):
        found = f"says {', '.join(other[:5])}, phones that the dictionary lacks"
        raise DataError(
            str(model), found, "the dictionary's phones", "train it on this dictionary, with the same stress"
        )
    said = g2p.pronounce(lacking)
    print(f"{model}: {len(said)} of {len(lacking)} words that the dictionary lacks pronounced", file=sys.stderr)
    return Lexicon({**known.entries, **{word: (phones,) for word, phones in said.items()}})


def _spelled(words: list[str], tokens: Path | None, skip_unknown: bool) -> Lexicon:
    assert tokens is not None
    table = TokenTable.read(tokens)
    writable = [word for word in words if not table.unknown(word)] if skip_unknown else words
    return Lexicon.of_spelling(writable, table)


# ``recitative add-words``: further words for an exported recognizer.


def add_words(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Exported recognizer, or name of a pretrained one.")],
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
    """Add words, such as names, to an exported recognizer that decodes with a lexicon. Nothing is trained.

    Words that the model has are left as they are; further pronunciations are added. Prints what was added.

    \b
    recitative add-words model.onnx --words names.txt --g2p exp/g2p/model --output new.onnx
    recitative add-words an4-streaming --words names.txt --output new.onnx --log-prob -5
    recitative transcribe talk.wav --model new.onnx
    """
    name = g2p or (pretrained.G2P if pretrained.path_of(pretrained.G2P) else "")
    letter_to_sound = LetterToSound(name, partial(open_pronouncer, Path(name))) if name else None
    made = added_words.add_words(find_model(model), words, output, letter_to_sound, log_prob)
    rows = [("word", "pronunciation", "from")] if made.pronounced else []
    rows += [(one.word, " ".join(map(name_of, one.pronunciation)), one.source) for one in made.pronounced]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    if made.known:
        some = ", ".join(made.known[:SHOWN]) + (", ..." if len(made.known) > SHOWN else "")
        print(f"{model}: has {len(made.known)} of the words already: {some}", file=sys.stderr)
    scored = f"; {len(made.scored)} new to the language model, ln P {made.log_prob:.2f}" if made.scored else ""
    print(f"{output}: {len({one.word for one in made.pronounced})} words, {len(rows[1:])} pronunciations added{scored}")


# ``recitative g2p``: letter-to-sound models, which pronounce words that no dictionary has.

app = typer.Typer(
    name="g2p",
    no_args_is_help=True,
    help="Letter-to-sound models: train, pronounce words.",
)

ModelArgument = Annotated[Path, typer.Argument(help="Letter-to-sound model: model folder or exported file.")]


@app.command()
def pronounce(
    model: ModelArgument,
    words: Annotated[list[str], typer.Argument(help="Words. '-': read them from stdin.")],
) -> None:
    """Print the most probable pronunciation of each word, as in a lexicon.

    The exit status is 1 if a word has unknown letters.

    \b
    recitative g2p pronounce exp/g2p/model hello world
    """
    asked = [word for given in words for word in (sys.stdin.read().split() if given == "-" else [given])]
    opened = open_pronouncer(model)
    said = opened.pronounce(asked)
    for word in asked:
        if word in said:
            print(f"{word} {' '.join(said[word])}")
    if silent := [word for word in dict.fromkeys(asked) if word not in said]:
        allowed = f"letters of {''.join(opened.letters.symbols[1:])}"
        raise DataError(str(model), f"cannot pronounce {', '.join(map(repr, silent))}", allowed, "spell it otherwise")


# ``recitative score`` of a punctuation model


def score_punctuation(
    model: Path,
    data: Path,
    results: ResultsOption = None,
    results_md: TableOption = None,
    name: NameOption = "",
    set_name: SetOption = "",
    decoding: HowOption = "-",
    command: CommandOption = "-",
) -> None:
    """Print precision, recall and F1 of marks and capitals on a text file, a passage on each line."""
    from recitative.kinds import open_stage
    from recitative.punctuation.kind import PUNCTUATION
    from recitative.punctuation.punctuator import Punctuator, mean_f1, read_lines, read_written, score_passages
    from recitative.score.results import Measurement

    to = Record(results, results_md, name, set_name, decoding, command)
    _, stage, settings, extras = open_stage(pretrained.find(model), [PUNCTUATION])
    punctuator = Punctuator(stage, extras["vocabulary"], settings.model.buckets)
    scores = score_passages(punctuator, [read_written(line) for line in read_lines(data)])
    for kind, score in scores.items():
        rates = f"precision {score.precision:6.1%}  recall {score.recall:6.1%}  F1 {score.f1:6.1%}"
        print(f"{kind:<9} {rates}  [ {score.right} / {score.written} ]")
    print(f"mean F1 {mean_f1(scores):.1%}")
    measured = [
        Measurement(f"% F1 {kind}", 100 * score.f1, f"{score.right} / {score.written}")
        for kind, score in scores.items()
    ]
    to.write(measured, settings)
