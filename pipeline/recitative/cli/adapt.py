"""``recitative adapt``: make a recognizer fit someone's recordings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from recitative import pretrained
from recitative.asr.added_words import LetterToSound, ListedWord, pronounce_words, read_word_list
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.atomic import write_bytes
from recitative.cli.models import MODEL_HELP, find_model, open_pronouncer, open_transcriber
from recitative.data.directory import DataDirectory
from recitative.data.importing import ImportOptions, import_corpus, read_source
from recitative.data.shards import is_shards
from recitative.errors import UsageError
from recitative.kinds import kind_of, read_metadata
from recitative.lm.estimate import Sentences, read_sentences
from recitative.lock import one_writer
from recitative.machine import available_cores
from recitative.score.wer import ErrorCounts
from recitative.terminal import progress_bar
from recitative.text.lexicon import Lexicon, Pronunciation
from recitative.text.normalize import NormalizationRules, normalize

if TYPE_CHECKING:
    from recitative.asr.adaptation import Adapted
    from recitative.asr.network import RecognizerModel


def adapt(
    recordings: Annotated[
        Path, typer.Argument(help="Folder of recordings with transcripts, as 'data import' takes, or a data directory.")
    ],
    base: Annotated[str, typer.Option(help=f"The recognizer to begin with. {MODEL_HELP}")],
    output: Annotated[Path, typer.Option(help="File to write, such as me.onnx. It is written when all is done.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE...]", help="Settings, such as train.epochs=5.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV, TSV or JSON-lines table of transcripts. Default: a .txt per recording.")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="More sentences like those you will say, one per line, for words and language model."),
    ] = None,
    g2p: Annotated[
        str,
        typer.Option(
            help="Letter-to-sound model for new words, where tokens are phones: model folder, exported file or name. "
            f"Default: the pretrained {pretrained.G2P}."
        ),
    ] = "",
    lexicon: Annotated[
        Path | None, typer.Option(help="Pronunciations of new words, where tokens are phones: 'word PH PH ...' lines.")
    ] = None,
    mismatches: Annotated[
        Literal["stop", "leave-out", "keep"],
        typer.Option(help="Utterances whose transcript is not what the base hears: list them and stop, or go on."),
    ] = "stop",
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for data, training run and model. Default: beside the output, me-adapt for me.onnx."),
    ] = None,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Do not normalize transcripts and text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress of the training on stderr.")] = False,
) -> None:
    """Make a recognizer fit your recordings: a minute at least, better an hour of a speaker or a subject.

    A tenth of the utterances is held out for the score, and a twentieth to choose among epochs, weights and
    int8; the others fine-tune the network. The language model is mixed with one of the transcripts and of --text, and
    new words come into the lexicon. Prints the word error rate on the held-out part before and after.

    Stop it at any time: the same command resumes it.

    \b
    recitative adapt recordings --base en --output me.onnx
    recitative adapt data/me --base exp/lstm/model --text letters.txt --g2p exp/g2p/model --output me.onnx
    """
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; a file; give the path of a file, such as {output / 'me.onnx'}")
    if is_shards(recordings):
        raise UsageError(f"{recordings}: is a folder of shards; name the data directory that they were made from")
    path = find_model(base)
    kind_of(path, [RECOGNIZER])
    work = work or output.with_name(f"{output.stem}-adapt")
    from recitative.asr.adaptation import Base, Material
    from recitative.asr.adaptation import adapt as adapt_model
    from recitative.asr.recognizer import word_errors
    from recitative.asr.stream import load_transcriber
    from recitative.model.export.quantization import export_checked
    from recitative.model.export.weights import open_for_training

    model = open_for_training(path, RECOGNIZER)
    transcriber = open_transcriber(path)
    with one_writer(work):
        written = _Writing.of(model, keep_text)
        folder = _data_directory(recordings, work, table, written, model.settings.features.sample_rate)
        texts = [written.sentences(file) for file in text or ()]
        material = Material(folder, texts, _lexicon(model, folder, texts, lexicon, g2p))
        adapted = adapt_model(
            Base(model, transcriber, path), material, work, progress_bar, mismatches=mismatches,
            overrides=overrides or (), tell=partial(print, file=sys.stderr), quiet=quiet,
        )  # fmt: skip
        with progress_bar("compare int8 with float32") as show:
            made = export_checked(
                adapted.model, work / "model.onnx", dev=work / "data/dev", notes=_notes(path, adapted), advance=show
            )
        with progress_bar("score before") as show:
            before = word_errors(transcriber, work / "data/test", show)
        with progress_bar("score after") as show:
            after = word_errors(load_transcriber(work / "model.onnx"), work / "data/test", show)
        write_bytes(output, (work / "model.onnx").read_bytes())
    _print(adapted, model, before, after)
    print(f"{output}: {made.weights}, {made.size / 1e6:.1f} MB")


class _Writing(NamedTuple):
    """How the base writes its words: text is brought into this form."""

    rules: NormalizationRules | None  # None: as it is
    upper: bool

    @classmethod
    def of(cls, model: RecognizerModel, keep_text: bool) -> _Writing:
        letters = "".join(model.lexicon.entries if model.lexicon else model.tokens.symbols[1:])
        has_upper, has_lower = letters != letters.lower(), letters != letters.upper()
        return cls(None if keep_text else NormalizationRules(keep_case=has_upper), has_upper and not has_lower)

    def form(self, text: str) -> str:
        if self.rules is None:
            return text
        return normalize(text.upper() if self.upper else text, self.rules)

    def sentences(self, path: Path) -> Sentences:
        """Raises DataError for a file without words."""
        read = read_sentences(path, plain=True)
        return replace(read, lines=tuple(filter(None, map(self.form, read.lines))))


def _data_directory(recordings: Path, work: Path, table: Path | None, written: _Writing, sample_rate: int) -> Path:
    """The recordings as a data directory at the base's sample rate."""
    if (recordings / "wav.scp").is_file():
        if table:
            raise UsageError(f"--table: {recordings} is a data directory, which has transcripts; leave it out")
        return recordings
    if work.resolve().is_relative_to(recordings.resolve()):
        raise UsageError(
            f"{work}: lies within {recordings}, whose recordings are read; name another folder with --work"
        )
    source = read_source(recordings, table)
    if written.upper:
        source = replace(source, entries=tuple(replace(one, text=one.text.upper()) for one in source.entries))
    with progress_bar("read transcripts") as show:
        options = ImportOptions(sample_rate, written.rules, jobs=available_cores())
        made = import_corpus(source, work / "data" / "all", options, show)
    for note in made.notes:
        print(note, file=sys.stderr)
    return work / "data" / "all"


def _lexicon(
    model: RecognizerModel, folder: Path, texts: Sequence[Sentences], given: Path | None, g2p: str
) -> Lexicon | None:
    """The base's, with pronunciations of all new words. Raises DataError, UsageError: see ``pronounce_words``."""
    known, tokens = model.lexicon, model.tokens
    if (g2p or given) and (known is None or tokens.unit != "phone"):
        option = "--g2p" if g2p else "--lexicon"
        raise UsageError(f"{option}: the base spells words in {tokens.holds}s; leave it out")
    if known is None:
        return None
    lines = [*DataDirectory.read(folder).texts.values(), *(line for text in texts for line in text.lines)]
    where = "--lexicon FILE" if tokens.unit == "phone" else f"{folder}/text"  # where a remedy is written
    listed = read_word_list(given, tokens) if given else []
    listed += [ListedWord(word, (), where) for word in sorted(known.unknown(lines))]
    name = g2p or (pretrained.G2P if pretrained.path_of(pretrained.G2P) else "")
    letter_to_sound = LetterToSound(name, partial(open_pronouncer, Path(name))) if name else None
    ways: dict[str, tuple[Pronunciation, ...]] = {}
    for one in pronounce_words(listed, known, tokens, letter_to_sound):
        ways[one.word] = (*ways.get(one.word, ()), one.pronunciation)
    return known.with_entries(Lexicon(ways))


def _notes(base: Path, adapted: Adapted) -> str:
    """What the file says of itself: how it was made, and the notes of its base, such as a license."""
    made = f"Adapted from {base.name} by 'recitative adapt' to {60 * adapted.hours:.1f} minutes of recordings.\n"
    of_base = read_metadata(base).notes if base.is_file() else ""
    return f"{made}\nThe base:\n{of_base}" if of_base else made


def _print(adapted: Adapted, base: RecognizerModel, before: ErrorCounts, after: ErrorCounts) -> None:
    sizes, model, lexicon = adapted.sizes, adapted.model, adapted.model.lexicon
    print(f"trained on {60 * adapted.hours:.1f} minutes, {sizes['train']} utterances; epochs chosen on {sizes['dev']}")
    words = f"{len(lexicon) - len(base.lexicon)} new words in the lexicon, " if lexicon and base.lexicon else ""
    lm = f"weight {model.settings.decode.lm_weight:g}" if model.lm else "left out, it did not help"
    print(f"{words}language model: {lm}")
    print(f"held out: {sizes['test']} utterances, {before.ref} words")
    for name, errors in (("before", before), ("after", after)):
        print(f"{name:>8}: WER {100 * errors.rate:6.2f} % [ {errors.errors} / {errors.ref} ]")
    if after.errors > before.errors:
        print("warning: the new model makes more errors than its base; keep the base", file=sys.stderr)
