"""Make the data directories train, dev and test from Google's Speech Commands, for 12 labels or for all words.

    python3 local/prepare.py --corpus DIR --classes 12 --output data [--subset N]

DIR has a folder for each word with {speaker}_nohash_{number}.wav, _background_noise_/, and the official sets:
validation_list.txt is dev, testing_list.txt is test, everything else train. They share no speakers.

The 12 labels (Warden 2018, "Speech Commands") are ten commands; _unknown_, a random selection of the other words; and
_silence_, seconds of background noise. Each of the last two has a tenth of the number of all commands. The noise is
split in time: the first eight tenths of each recording are for train, the ninth for dev, the last for test.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recitative.audio.files import inspect
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, Problem, RecitativeError
from recitative.reading import read_text

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
NOISE = "_background_noise_"
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}
NAME = re.compile(r"([0-9a-f]+)_nohash_(\d+)")
PARTS = {"train": (0.0, 0.8), "dev": (0.8, 0.9), "test": (0.9, 1.0)}  # share of each noise recording
PIECE_S = 1.0
SHARE = 0.1  # number of _unknown_ and of _silence_, relative to the commands
SEED = 59185  # of the random selections


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with a folder for each word")
    parser.add_argument("--classes", choices=("12", "35"), default="12", help="12, or every word (default: 12)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the data directories")
    parser.add_argument("--subset", type=int, default=0, help="only N recordings of each word for train (0: all)")
    arguments = parser.parse_args()
    try:
        prepare(arguments.corpus, arguments.classes, arguments.output, arguments.subset)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(corpus: Path, classes: str, output: Path, subset: int = 0) -> None:
    """Write output/{train,dev,test}. Raises one DataError for everything that is missing or misnamed."""
    require_corpus(corpus)
    sets = read_sets(corpus)
    if subset > 0:
        sets["train"] = _first_of_each_word(sets["train"], subset)
    for number, (name, words) in enumerate(sets.items()):
        rng = np.random.default_rng([SEED, number])
        chosen = words if classes == "35" else twelve(words, corpus / NOISE, PARTS[name], rng)
        DataDirectory(tuple(sorted(chosen, key=lambda one: one.utt_id))).write(output / name)
        speakers = len({one.speaker for one in words})
        print(f"{output / name}: {len(chosen)} recordings, words of {speakers} speakers", file=sys.stderr)


def require_corpus(corpus: Path) -> None:
    """Raise one DataError for all missing files and folders."""
    wanted = [*LISTS.values(), NOISE, *COMMANDS]
    problems = [
        Problem(str(corpus / name), "does not exist", "", "download the corpus, or correct --corpus")
        for name in wanted
        if not (corpus / name).exists()
    ]
    if problems:
        raise DataError.collect(problems)


def read_sets(corpus: Path) -> dict[str, list[Utterance]]:
    """All recordings of each set, labeled with their word. Raises one DataError for misnamed or missing recordings."""
    listed = {name: set(read_text(corpus / file).split()) for name, file in LISTS.items()}
    sets: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    problems, seen = [], set()
    for path in sorted(corpus.glob("[a-z]*/*.wav")):
        place = f"{path.parent.name}/{path.name}"
        if not (found := NAME.fullmatch(path.stem)):
            problems.append(
                Problem(str(path), "has another name", "{speaker}_nohash_{number}.wav", "rename or remove it")
            )
            continue
        utt_id = f"{found[1]}-{path.parent.name}-{found[2]}"
        name = next((name for name, places in listed.items() if place in places), "train")
        sets[name].append(Utterance(utt_id, found[1], str(path.resolve()), text=path.parent.name))
        seen.add(place)
    for name, places in listed.items():
        file = corpus / LISTS[name]
        missing = sorted(places - seen)
        problems += [Problem(str(file), f"{one} does not exist", "", "download the corpus again") for one in missing]
    if problems:
        raise DataError.collect(problems)
    return sets


def twelve(
    words: Sequence[Utterance], noise: Path, part: tuple[float, float], rng: np.random.Generator
) -> list[Utterance]:
    """Reduce a set to the commands, _unknown_ and _silence_."""
    commands = [one for one in words if one.text in COMMANDS]
    others = [one for one in words if one.text not in COMMANDS]
    count = round(SHARE * len(commands))
    drawn = rng.permutation(len(others))[:count]
    unknown = [replace(others[i], text=UNKNOWN) for i in sorted(drawn)]
    return [*map(_as_segment, [*commands, *unknown]), *silences(noise, part, count, rng)]


def _as_segment(word: Utterance) -> Utterance:
    """The utterance as a segment of its whole recording: in a data directory all or none are segments."""
    info = inspect(word.recording_path)
    return replace(word, recording_id=word.utt_id, end_s=info.num_samples / info.sample_rate)


def silences(noise: Path, part: tuple[float, float], count: int, rng: np.random.Generator) -> Iterator[Utterance]:
    """``count`` random seconds from a part of the noise recordings, which are weighted by their length."""
    paths = sorted(noise.glob("*.wav"))
    seconds = [info.num_samples / info.sample_rate for info in map(inspect, paths)]
    room = np.array([max(0.0, (part[1] - part[0]) * one - PIECE_S) for one in seconds])
    if not room.sum():
        allowed = f"recordings of which {part[1] - part[0]:.0%} are longer than {PIECE_S:g} s"
        raise DataError(str(noise), "has no noise of sufficient length", allowed, "download the corpus again")
    for number in range(count):
        which = int(rng.choice(len(paths), p=room / room.sum()))
        start = part[0] * seconds[which] + rng.uniform(0, room[which])
        utt_id = f"noise-{round(10 * part[0])}-{number:05d}"
        yield Utterance(
            utt_id, utt_id[:7], str(paths[which].resolve()), round(start, 3), round(start + PIECE_S, 3), SILENCE,
            paths[which].stem,
        )  # fmt: skip


def _first_of_each_word(words: Sequence[Utterance], count: int) -> list[Utterance]:
    kept: dict[str, list[Utterance]] = {}
    for one in words:
        kept.setdefault(one.text or "", []).append(one)
    return [one for of_word in kept.values() for one in of_word[:count]]


if __name__ == "__main__":
    sys.exit(main())
