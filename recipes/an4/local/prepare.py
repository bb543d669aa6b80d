"""Make the data directories train, dev and test, and the pronunciation dictionary, from CMU AN4.

    python3 local/prepare.py --corpus DIR --dev-speakers local/dev_speakers.txt --output data

DIR has etc/an4_{train,test}.{fileids,transcription} and the audio in wav/. Test is the official list (130 utterances,
773 words). Dev has the speakers of a fixed list, held out of train: four women and four men. The id an251-fash-b
becomes fash-an251-b, because Kaldi requires ids that start with the speaker.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path

import numpy as np

from recitative.audio.files import Samples, write_wav
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, Problem, RecitativeError
from recitative.reading import read_text
from recitative.text.tokens import Lexicon

OFFICIAL = {"train": 948, "test": 130}  # utterances of the published lists
SUFFIXES = (".sph", ".wav", ".flac", ".raw")  # as distributed: SPHERE or headerless samples; and common conversions
SAMPLE_RATE = 16000
LETTER_A = ("EY",)
TRANSCRIPT = re.compile(r"(?:<s>)?(?P<text>[A-Z ]+)(?:</s>)? *\((?P<name>[a-z0-9]+-[a-z0-9]+-[a-z0-9]+)\) *")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with etc/ and wav/")
    parser.add_argument("--dev-speakers", type=Path, required=True, help="file with one speaker per line")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--subset", type=int, default=0, help="only the first N utterances of each speaker (0: all)")
    arguments = parser.parse_args()
    try:
        sets = read_corpus(arguments.corpus)
        sets["train"], sets["dev"] = hold_out(sets["train"], arguments.dev_speakers)
        sets = {name: [_with_header(u, arguments.output) for u in utterances] for name, utterances in sets.items()}
        write_sets(sets, arguments.output, arguments.subset)
        read_dictionary(arguments.corpus / "etc" / "an4.dic").write(arguments.output / "dictionary.txt")
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def read_corpus(corpus: Path) -> dict[str, list[Utterance]]:
    """Read the official train and test sets. Raises one DataError with everything that is missing."""
    sets: dict[str, list[Utterance]] = {}
    problems: list[Problem] = []
    for name, expected in OFFICIAL.items():
        sets[name] = []
        for fileid, (number, line) in _pair_lists(corpus, name, expected):
            try:
                sets[name].append(_utterance(corpus, name, fileid, number, line))
            except DataError as error:
                problems += error.problems
    if problems:
        raise DataError.collect(problems)
    return sets


def hold_out(train: list[Utterance], dev_speakers: Path) -> tuple[list[Utterance], list[Utterance]]:
    """Split train into train and dev by the speakers of a file."""
    held_out = set(read_text(dev_speakers).split())
    unknown = held_out - {u.speaker for u in train}
    if unknown:
        raise DataError(str(dev_speakers), f"speaker '{min(unknown)}' is not in train", "", "correct the list")
    return [u for u in train if u.speaker not in held_out], [u for u in train if u.speaker in held_out]


def write_sets(sets: dict[str, list[Utterance]], output: Path, subset: int) -> None:
    """Write output/{train,dev,test}, at most ``subset`` utterances of each speaker (0: all)."""
    for name, utterances in sets.items():
        directory = DataDirectory(tuple(sorted(utterances)))
        if subset > 0:
            directory = directory.with_utterances([u for us in directory.by_speaker.values() for u in us[:subset]])
        directory.write(output / name)
        words = sum(len(text.split()) for text in directory.texts.values())
        counts = f"{len(directory.utterances)} utterances, {words} words, {len(directory.by_speaker)} speakers"
        print(f"{output / name}: {counts}", file=sys.stderr)


def read_dictionary(path: Path) -> Lexicon:
    """Read the corpus's dictionary, in lower case, with the letter as the first pronunciation of "a".

    Training uses the first pronunciation, and 184 of the 186 "a" in the training transcripts are spelled letters.
    """
    lines = _read_lines(path)
    entries: dict[str, tuple[tuple[str, ...], ...]] = {}
    for line in lines:
        word, *phones = line.split()
        word = re.sub(r"\(\d+\)$", "", word).lower()
        entries[word] = (*entries.get(word, ()), tuple(phones))
    entries["a"] = tuple(sorted(entries["a"], key=lambda phones: phones != LETTER_A))
    return Lexicon(entries)


def _pair_lists(corpus: Path, name: str, expected: int) -> list[tuple[str, tuple[int, str]]]:
    fileids = _read_lines(corpus / "etc" / f"an4_{name}.fileids")
    transcripts = _read_lines(corpus / "etc" / f"an4_{name}.transcription")
    for kind, lines in (("fileids", fileids), ("transcription", transcripts)):
        if len(lines) != expected:
            where = f"{corpus}/etc/an4_{name}.{kind}"
            raise DataError(where, f"{len(lines)} lines", f"{expected}, the official list", "download the corpus again")
    return list(zip(fileids, enumerate(transcripts, start=1), strict=True))


def _read_lines(path: Path) -> list[str]:
    return read_text(path, "the AN4 lists", "pass the folder with etc/ and wav/ as --corpus").splitlines()


def _utterance(corpus: Path, name: str, fileid: str, number: int, line: str) -> Utterance:
    where = f"{corpus}/etc/an4_{name}.transcription:{number}"
    match = TRANSCRIPT.fullmatch(line)
    if not match:
        raise DataError(where, f"'{line}'", "'WORDS (utterance)'", "download the corpus again")
    if match["name"] != fileid.rsplit("/", 1)[-1]:
        raise DataError(
            where, f"'{match['name']}' instead of '{fileid}', as in fileids", "", "download the corpus again"
        )
    utterance, speaker, channel = match["name"].split("-")
    audio = _find_audio(corpus.resolve() / "wav" / fileid)
    text = " ".join(match["text"].lower().split())
    return Utterance(f"{speaker}-{utterance}-{channel}", speaker, str(audio), text=text)


def _find_audio(stem: Path) -> Path:
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.exists():
            return path
    raise DataError(str(stem), "no recording", " or ".join(SUFFIXES), "download the corpus again")


def _with_header(utterance: Utterance, output: Path) -> Utterance:
    """Convert a recording of headerless samples to wav; return any other unchanged."""
    source = Path(utterance.recording_path)
    if source.suffix != ".raw":
        return utterance
    target = output.resolve() / "wav" / f"{source.stem}.wav"
    write_wav(target, decode_raw(source), SAMPLE_RATE)
    return dataclasses.replace(utterance, recording_path=str(target))


def decode_raw(path: Path) -> Samples:
    """Read headerless 16-bit samples as (S,) in [-1, 1).

    The corpus is distributed in both byte orders, without a mark. Speech is smooth in the right one; in the wrong one
    neighboring samples differ by a third of full scale.
    """
    content = path.read_bytes()
    if not content or len(content) % 2:
        raise DataError(str(path), f"{len(content)} bytes", "16-bit samples", "download the corpus again")
    orders = [np.frombuffer(content, dtype).astype(np.float32) / 32768 for dtype in ("<i2", ">i2")]
    return min(orders, key=lambda samples: float(np.abs(np.diff(samples)).sum()))


if __name__ == "__main__":
    sys.exit(main())
