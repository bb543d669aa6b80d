"""``recitative tokens``, ``lexicon``, ``features``, ``cmvn`` and ``shards``: prepare data directories for training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from recitative.cli.models import open_pronouncer
from recitative.cli.options import EngineOptions, SettingsOptions, expand_options, print_note
from recitative.data.directory import DataDirectory, read_transcripts, require_ids
from recitative.data.shards import INDEX, Format, verify_shards, write_shards
from recitative.data.tables import words_of
from recitative.errors import DataError, UsageError
from recitative.features.extraction import accumulate, extract, write_features
from recitative.terminal import progress_bar, track
from recitative.text.lexicon import Lexicon, read_dictionary
from recitative.text.tokens import TokenTable, Unit, learn_pieces

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
    source = "lexicons" if unit == "phone" else "transcripts"
    print(f"{output}: {len(table)} tokens from {len(texts)} {source}")


def _read_texts(data_dirs: list[Path]) -> list[str]:
    """All transcripts. Raises DataError for text files without utterance ids."""
    for data_dir in data_dirs:
        require_ids(data_dir, "name a data directory, or a table of 'utterance words...' lines")
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
        print_note(f"out of vocabulary: {word} ({count} times)")
    if len(unknown) > SHOWN:
        print_note(f"out of vocabulary: and {len(unknown) - SHOWN} more words")
    if unknown and not skip_unknown:
        found = f"lacks {len(unknown)} words of the transcripts ({unknown.total()} of {len(' '.join(texts).split())})"
        raise DataError(str(dictionary or tokens), found, "all of them", "add them, or give --skip-unknown")
    made = known if whole else known.only(words)
    made.write(output)
    ways = sum(map(len, made.entries.values()))
    print(f"{output}: {len(made)} words, {ways} pronunciations, {len(unknown)} words out of vocabulary")


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


@expand_options
def features(
    data_dir: Annotated[Path, typer.Argument(help="Data directory; feats.scp and utt2num_frames are added to it.")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for feats.ark and feats.scp.")],
    options: SettingsOptions,
    engine: EngineOptions,
) -> None:
    """Compute fbank or MFCC features and write feats.ark and feats.scp in Kaldi's format.

    \b
    recitative features data/train data/fbank --conf conf/lstm.yaml
    """
    settings = options.load().features
    directory = DataDirectory.read(data_dir)
    items = extract(directory, settings, engine.to_engine())
    frames = write_features(data_dir, out_dir, track(items, "features", len(directory.utterances)))
    print(f"{out_dir / 'feats.scp'}: {len(frames)} utterances, {sum(frames.values())} frames, {settings.dim} channels")


@expand_options
def cmvn(
    data_dir: Annotated[Path, typer.Argument(help="Data directory of the training set.")],
    output: Annotated[Path, typer.Option(help="Statistics file to write, in Kaldi's text format.")],
    options: SettingsOptions,
    engine: EngineOptions,
) -> None:
    """Compute global CMVN statistics, as Kaldi's compute-cmvn-stats.

    \b
    recitative cmvn data/train --conf conf/lstm.yaml --output data/cmvn
    """
    settings = options.load().features
    directory = DataDirectory.read(data_dir)
    items = extract(directory, settings, engine.to_engine())
    bar = track(items, "cmvn", len(directory.utterances))
    stats = accumulate((matrix for _, matrix in bar), settings.dim)
    stats.write(output)
    print(f"{output}: {stats.count:.0f} frames of {len(directory.utterances)} utterances, {stats.dim} channels")


@expand_options
def shards(
    data_dir: Annotated[Path, typer.Argument(help="Data directory; with --verify, folder of shards.")],
    engine: EngineOptions,
    output: Annotated[Path | None, typer.Argument(help="Folder for the shards. An interrupted run is resumed.")] = None,
    format: Annotated[
        Format, typer.Option(help="keep: copy compressed recordings, store others as FLAC; opus: small, lossy.")
    ] = "keep",
    minutes: Annotated[float, typer.Option(min=0.01, help="Approximate minutes of audio per shard.")] = 60.0,
    verify: Annotated[bool, typer.Option("--verify", help="Verify the checksums of all shards.")] = False,
) -> None:
    """Pack a data directory into webdataset shards with an index.

    A folder of shards can be used in place of a data directory.

    \b
    recitative shards data/train data/train_shards
    recitative shards data/train_shards --verify
    """
    if verify:
        with progress_bar("verify shards"):
            problems = list(verify_shards(data_dir, engine.to_engine()))
        if problems:
            raise DataError.collect(problems)
        print(f"{data_dir}: all shards are as the index says")
        return
    if output is None:
        raise typer.BadParameter("give the folder for the shards, or --verify")
    directory = DataDirectory.read(data_dir)
    with progress_bar("shards") as show:
        summary = write_shards(
            directory, output, format=format, shard_s=60 * minutes, engine=engine.to_engine(), advance=show
        )
    print(
        f"{output / INDEX}: {summary.utterances} utterances in {summary.shards} shards, "
        f"{summary.size / 1e6:.1f} MB, {summary.made} written now"
    )
