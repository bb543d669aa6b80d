"""Damaged inputs for every reader: each is read, or refused with an error of our own, never with another exception.

    python tests/reliability/fuzz.py --count 7000 --seed 1

prints every exception that is none of our own, and every input that takes long. ``test_fuzz.py`` runs a few for
each reader. A case is told by its seed, reader and number: the same numbers damage the same bytes again.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import math
import random
import shutil
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recitative.anomaly.detector import Threshold
from recitative.asr.alignment import read_ctm, read_word_times
from recitative.asr.experiment import read_experiment
from recitative.asr.kind import RECOGNIZER
from recitative.asr.pronunciation import read_word_list
from recitative.asr.tuning import Weights, best_texts, read_nbest
from recitative.config import FeatureSettings, FrontEndSettings, load_settings
from recitative.data.annotations import Tier, eaf, read_eaf, read_stm, read_textgrid, read_trn, textgrid
from recitative.data.check import check_directory, fix_directory
from recitative.data.directory import DataDirectory, read_speakers, read_transcripts
from recitative.data.importing import ImportOptions, import_corpus, read_source, unpack
from recitative.data.shards import ShardIndex, write_shards
from recitative.decoding.hotwords import Grammar, read_hot_words
from recitative.errors import RecitativeError
from recitative.features.extraction import CmvnStats, audio_durations_s, encode_binary, read_utterance
from recitative.keywords.spotter import KeywordThresholds
from recitative.lm.arpa import read_arpa
from recitative.lm.estimate import read_sentences, read_vocabulary
from recitative.lm.ngram import NgramModel, read_lm
from recitative.model.kind import name_in_settings
from recitative.music.composer import read_file
from recitative.music.midi import write_midi
from recitative.music.piece import Note, Piece
from recitative.reading import read_text
from recitative.score.classification import measure_words, read_timed_words
from recitative.score.results import append_results, format_table, read_results
from recitative.score.wer import read_utterances
from recitative.sound.generator import SOUND
from recitative.text.tokens import Lexicon, TokenTable, read_dictionary
from small_corpus import TEXTS, make_corpus, make_segmented_corpus

SLOW_S = 10.0  # of a core
TIERS = [Tier("anna", ((0.1, 0.5, 'a "b" & c'),), "Anna"), Tier("ben", ((0.0, 0.3, "d"), (0.3, 0.9, "e")))]
CASES = Path(__file__).resolve().parents[1] / "field_cases"


@dataclass(frozen=True)
class Reader:
    """make: writes sound files below a folder; damaged: which of them; read: takes the folder."""

    make: Callable[[Path], object]
    damaged: str
    read: Callable[[Path], object]


def _text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def _copied(name: str, to: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(CASES / name, folder / to)


def _corpus(folder: Path) -> None:
    train = make_corpus(folder)
    (train / "utt2dur").write_text("".join(f"{utt_id} 0.5\n" for utt_id in TEXTS))
    (train / "spk2gender").write_text("anna f\nbert m\n")


def _use_directory(folder: Path) -> None:
    for use in (_check_directory, _fix_directory, _read_directory):
        use(folder / "train")


def _check_directory(train: Path) -> None:
    check_directory(train, FeatureSettings(), FrontEndSettings())


def _fix_directory(train: Path) -> None:
    fix_directory(train, {}, force=True)


def _read_directory(train: Path) -> None:
    with contextlib.suppress(RecitativeError):
        read_transcripts(train), read_speakers(train)
    directory = DataDirectory.read(train)
    directory.write(train.parent / "copy")
    audio_durations_s(directory.utterances, 16000)
    for utterance in directory.utterances:
        read_utterance(utterance)


def _import(table: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        source = read_source(folder, folder / table)
        import_corpus(source, folder / "out", ImportOptions(skip_bad=True, most_skipped=1.0))

    return read


def _recordings(*tables: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        for name in ("u1.wav", "u2.wav"):
            shutil.copy(CASES / "go.wav", folder / name)
        for table in tables:
            shutil.copy(CASES / table, folder / table)

    return make


def _texts(folder: Path) -> None:
    _recordings()(folder)
    for name in ("u1.txt", "u2.txt"):
        (folder / name).write_text("don\u2019t go\n")


def _lhotse(kind: str, packed: bool) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        _recordings()(folder)
        recording = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "u1.wav"}], "duration": 1.34}
        supervision = {"id": "s", "recording_id": "r", "start": 0.1, "duration": 0.9, "text": "go", "speaker": "a"}
        cut = {"id": "c", "type": "MonoCut", "start": 0.0, "recording": recording, "supervisions": [supervision]}
        for name, rows in (("recordings", recording), ("supervisions", supervision), ("cuts", cut)):
            content = (json.dumps(rows) + "\n").encode()
            if (kind == "cuts") == (name == "cuts"):
                suffix = ".jsonl.gz" if packed else ".jsonl"
                (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if packed else content)

    return make


def _import_folder(folder: Path) -> None:
    import_corpus(read_source(folder), folder.parent / "out", ImportOptions(skip_bad=True, most_skipped=1.0))


def _shards(folder: Path) -> None:
    write_shards(DataDirectory.read(make_corpus(folder)), folder / "shards")


def _read_shards(folder: Path) -> None:
    index = ShardIndex.open(folder / "shards")
    check_directory(folder / "shards", FeatureSettings(), FrontEndSettings())
    audio_durations_s(index, 16000)
    for utterance in index:
        read_utterance(utterance)


def _foreign_shards(folder: Path) -> None:
    _texts(folder)
    (folder / "u2.json").write_text('{"text": "go go", "speaker": "anna"}')
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "a.tar", "w") as tar:
        for name in ("u1.txt", "u2.txt", "u1.wav", "u2.wav", "u2.json"):
            tar.add(folder / name, name)


def _use_foreign_shards(folder: Path) -> None:
    with contextlib.suppress(RecitativeError):
        import_corpus(read_source(folder / "shards"), folder / "out", ImportOptions(skip_bad=True, most_skipped=1.0))
    _read_shards(folder)


def _cmvn(folder: Path) -> None:
    CmvnStats(np.ones(4), np.ones(4) * 2, 3.0).write(folder / "cmvn")


def _binary_cmvn(folder: Path) -> None:
    (folder / "cmvn").write_bytes(encode_binary(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])))


def _use_cmvn(folder: Path) -> None:
    stats = CmvnStats.read(folder / "cmvn")
    stats.mean, stats.inverse_stddev  # noqa: B018


def _use_lm(folder: Path) -> None:
    model = read_lm(folder / "lm")
    model.score(model.start(), "go")


def _use_grammar(folder: Path) -> None:
    grammar = Grammar.read(folder / "grammar")
    grammar.score(grammar.start(), grammar.words[0])


def _midi(folder: Path) -> None:
    write_midi(Piece((Note(0, 48, 8, 1), Note(0, 60, 4, 0), Note(4, 60, 4, 0)), 12, 4, 96.0, "two"), folder / "a.mid")


def _timed(folder: Path) -> None:
    measure_words({"a-1": "go on"}, read_timed_words(folder / "words.jsonl"))


def _results(folder: Path) -> None:
    format_table(read_results(folder / "results.jsonl"))
    append_results(folder / "results.jsonl", [])


def _experiment(folder: Path) -> None:
    from recitative.asr.experiment import Epoch, Step

    fields = dict.fromkeys(Step.__dataclass_fields__, 1.0) | {"event": "step", "step": 1, "epoch": 0}
    epoch = dict.fromkeys(Epoch.__dataclass_fields__, 1.0) | {"event": "epoch", "step": 1, "epoch": 0}
    (folder / "train.jsonl").write_text(json.dumps(fields) + "\n" + json.dumps(epoch) + "\n")
    (folder / "settings.yaml").write_text("train:\n  clip_norm: 5.0\n  epochs: 3\n")
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "packages": {"torch": "2"}}))


def _report(folder: Path) -> None:
    from recitative.asr.report import Report

    Report([read_experiment(folder)]).page(0)


def _tar(folder: Path) -> None:
    import tarfile

    with tarfile.open(folder / "a.tar.gz", "w:gz") as tar:
        tar.add(CASES / "README.md", "in/README.md")


THRESHOLDS = {"model": "5f", "data": "dev", "hours": 0.6, "false_alarms_per_hour": 1.0, "thresholds": {"yes": 0.6}}
WORDS = {"utt_id": "a-1", "words": [{"word": "go", "start_s": 0.1, "end_s": 0.4, "confidence": 0.9}]}
NBEST = {"utt_id": "a-1", "nbest": [{"text": "go", "tokens": "go", "score": -1.5}]}
RESULT = {"model": "m", "set": "test", "decoding": "greedy", "metric": "%WER", "value": 5.0, "seconds": 1.5}
SETTINGS = "features:\n  num_mel_bins: 40\nmodel: {front_end: {kind: conv, channels: [8, 8]}}\ntrain: {epochs: 3}\n"
GRAMMAR = "turn (on | off) the [kitchen] light\ncall $name\n$name = anna | bert\n"
ABC = "X:1\nT:tune\nM:4/4\nL:1/8\nQ:1/4=120\nK:Dm\n|:A2 B>c [Ace]2 (3abc|1 d4:|2 d'4|]\n"
CTM = "a-1 1 0.10 0.30 go 0.9\na-1 1 0.5 0.2 on\n"
PER_UTT = "a-1 ref  go  on\na-1 hyp  go  in\na-1 op   C   S\na-1 #csid 1 1 0 0\n"

READERS: dict[str, Reader] = {
    **{f"table {name}": Reader(_corpus, f"train/{name}", _use_directory)
       for name in ("wav.scp", "text", "utt2spk", "spk2utt", "utt2dur", "spk2gender")},
    "table segments": Reader(make_segmented_corpus, "train/segments", _use_directory),
    "csv": Reader(_recordings("19_header_with_blank.csv"), "19_header_with_blank.csv",
                  _import("19_header_with_blank.csv")),
    "csv sep": Reader(_recordings("17_sep_line.csv"), "17_sep_line.csv", _import("17_sep_line.csv")),
    "nemo": Reader(_recordings("19_nemo_manifest.json"), "19_nemo_manifest.json", _import("19_nemo_manifest.json")),
    "txt": Reader(_texts, "u1.txt", _import_folder),
    "lhotse cuts": Reader(_lhotse("cuts", False), "cuts.jsonl", _import_folder),
    "lhotse cuts.gz": Reader(_lhotse("cuts", True), "cuts.jsonl.gz", _import_folder),
    "lhotse recordings": Reader(_lhotse("", False), "recordings.jsonl", _import_folder),
    "lhotse supervisions": Reader(_lhotse("", False), "supervisions.jsonl", _import_folder),
    "shard index": Reader(_shards, "shards/index.safetensors", _read_shards),
    "tar of others": Reader(_foreign_shards, "shards/a.tar", _use_foreign_shards),
    "shard tar": Reader(_shards, "shards/shard-000000.tar", _read_shards),
    "cmvn": Reader(_cmvn, "cmvn", _use_cmvn),
    "cmvn binary": Reader(_binary_cmvn, "cmvn", _use_cmvn),
    "tokens": Reader(_text("tokens.txt", "<blank> 0\n<space> 1\na 2\nb 3\n"), "tokens.txt",
                     lambda folder: TokenTable.read(folder / "tokens.txt").encode("a b")),
    "pieces": Reader(_text("tokens.txt", "<blank> 0\n\u2581 1 -1.0\na 2 -2.0\n\u2581a 3 -1.5\n"), "tokens.txt",
                     lambda folder: TokenTable.read(folder / "tokens.txt").encode("a a")),
    "lexicon": Reader(_text("lexicon", "go G OW\non AA N\non AO N\n"), "lexicon",
                      lambda folder: Lexicon.read(folder / "lexicon").to_text()),
    "dictionary": Reader(_text("dict", ";;; x\nGO  G OW # y\nON(2)  AA N\n"), "dict",
                         lambda folder: read_dictionary(folder / "dict", lower=True)),
    "words to add": Reader(_text("words", "go G OW1\non\n"), "words", lambda folder: read_word_list(
        folder / "words", TokenTable(("<blank>", "G", "OW", "AA", "N")))),
    "hot words": Reader(_text("words", "enter:2.5\npittsburgh=P IH T\n# no\n"), "words",
                        lambda folder: read_hot_words(folder / "words", 2.0)),
    "keyword thresholds": Reader(_text("t.json", json.dumps(THRESHOLDS)), "t.json",
                                 lambda folder: KeywordThresholds.read(folder / "t.json").write(folder / "u.json")),
    "threshold": Reader(_text("t.json", json.dumps(asdict(Threshold(1.0, 0.5, 0.01, 9)))), "t.json",
                        lambda folder: Threshold.parse(read_text(folder / "t.json"), "t.json").to_json()),
    "labels": Reader(_text("labels.json", '{"texts": ["go"], "speakers": ["a"]}'), "labels.json",
                     lambda folder: SOUND.parse({"labels.json": read_text(folder / "labels.json")}, str)),
    "calibrator": Reader(_text("confidence.json", '{"features": ["x"], "weights": [1.0], "bias": 0.0}'),
                         "confidence.json", lambda folder: RECOGNIZER.parse(
                             {"tokens.txt": "<blank> 0\n", "confidence.json": read_text(folder / "confidence.json")},
                             str)),
    "arpa": Reader(_copied("21_header_text.arpa", "lm"), "lm", _use_lm),
    "arpa.gz": Reader(lambda folder: (folder / "lm").write_bytes(
        gzip.compress((CASES / "21_header_text.arpa").read_bytes())), "lm", _use_lm),
    "packed n-grams": Reader(lambda folder: (folder / "lm").write_text(
        NgramModel.of(read_arpa(CASES / "21_header_text.arpa")).to_text()), "lm", _use_lm),
    "grammar": Reader(_text("grammar", GRAMMAR), "grammar", _use_grammar),
    "sentences": Reader(_text("text", "go now\nstop\n"), "text",
                        lambda folder: read_sentences(folder / "text", plain=True)),
    "sentences of a table": Reader(_text("text", "u1 go now\nu2 stop\n"), "text",
                                   lambda folder: read_sentences(folder / "text")),
    "vocabulary": Reader(_text("words.txt", "<eps> 0\ngo 1\n"), "words.txt",
                         lambda folder: read_vocabulary(folder / "words.txt")),
    "settings": Reader(_text("a.yaml", SETTINGS), "a.yaml", lambda folder: load_settings(folder / "a.yaml")),
    "included settings": Reader(
        lambda folder: (_text("a.yaml", "include: [b.yaml]\n")(folder), _text("b.yaml", SETTINGS)(folder)),
        "a.yaml", lambda folder: load_settings(folder / "a.yaml")),
    "settings of a model": Reader(
        _text("settings.yaml", "kind: music\n" + SETTINGS), "settings.yaml", name_in_settings
    ),
    "midi": Reader(_midi, "a.mid", lambda folder: read_file(folder / "a.mid")),
    "rmid": Reader(_copied("20_rmid.mid", "a.mid"), "a.mid", lambda folder: read_file(folder / "a.mid")),
    "abc": Reader(_text("a.abc", ABC), "a.abc", lambda folder: read_file(folder / "a.abc")),
    "textgrid": Reader(_text("a.TextGrid", textgrid(TIERS, 1.0)), "a.TextGrid",
                       lambda folder: read_textgrid(folder / "a.TextGrid")),
    "eaf": Reader(_text("a.eaf", eaf(TIERS, "a.wav")), "a.eaf", lambda folder: read_eaf(folder / "a.eaf")),
    "stm": Reader(_text("a.stm", ";; x\ntalk 1 anna 0.0 0.5 <o,f0> one two\n"), "a.stm",
                  lambda folder: read_stm(folder / "a.stm")),
    "trn": Reader(_text("a.trn", "one two (anna-1)\n(anna-2)\n"), "a.trn", lambda folder: read_trn(folder / "a.trn")),
    "ctm": Reader(_text("words.ctm", CTM), "words.ctm", lambda folder: read_ctm(folder / "words.ctm")),
    "word times": Reader(lambda folder: (_corpus(folder), _text("train/words.ctm", "anna-2 1 0 0.3 three\n")(folder)),
                         "train/words.ctm", lambda folder: read_word_times(
                             folder / "train", DataDirectory.read(folder / "train").utterances)),
    "timed words": Reader(_text("words.jsonl", json.dumps(WORDS) + "\n"), "words.jsonl", _timed),
    "n-best": Reader(_text("nbest.jsonl", json.dumps(NBEST) + "\n"), "nbest.jsonl",
                     lambda folder: best_texts(read_nbest(folder / "nbest.jsonl"), Weights())),
    "results": Reader(_text("results.jsonl", json.dumps(RESULT) + "\n"), "results.jsonl", _results),
    "per_utt": Reader(_text("per_utt", PER_UTT), "per_utt", lambda folder: read_utterances(folder / "per_utt")),
    "train.jsonl": Reader(_experiment, "train.jsonl", _report),
    "environment.json": Reader(_experiment, "environment.json", _report),
    "settings.yaml": Reader(_experiment, "settings.yaml", _report),
    "tar": Reader(_tar, "a.tar.gz", lambda folder: unpack(folder / "a.tar.gz", folder / "out")),
}  # fmt: skip

TOKENS = (
    b"nan", b"-inf", b"1e999", b"-1", b"0", b"9" * 30, b"9" * 5000, b"1e-400", b"0x10", b"", b" ", b"null", b"true",
    b"{}", b"[]", b"\"\"", b"a" * 5000, b"a\0b", b"/dev/zero", b"..", b"/", b"|", b"~", b"\\ud800", b"\"\\ud800\"",
    b"\xef\xbb\xbf", b"\xff", b"\xe2\x80\xa8", b"\r", b"&a [*a]", b"!!int x", b"!!timestamp x", b"<<: 1",
    b"[" * 3000, b"(" * 3000, b"{\"a\":" * 3000, b"$a " * 50, b"\t", b"%", b"\xc2\xa0",
)  # fmt: skip


def damage(content: bytes, rng: random.Random) -> bytes:
    """The content with one to three faults."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(FAULTS)(content, rng)
    return content


def _flipped(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 8) if content else 0):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    first = rng.randint(0, len(content))
    return first, min(len(content), first + rng.choice((1, 2, 4, 8, 50, len(content))))


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def _deleted(content: bytes, rng: random.Random) -> bytes:
    first, stop = _span(content, rng)
    return content[:first] + content[stop:]


def _doubled(content: bytes, rng: random.Random) -> bytes:
    first, stop = _span(content, rng)
    return content[:stop] + content[first:stop] * rng.choice((1, 2, 50)) + content[stop:]


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    first, stop = _span(content, rng)
    return content[:first] + b"\0" * (stop - first) + content[stop:]


def _token(content: bytes, rng: random.Random) -> bytes:
    """One word or number replaced by something that no reader expects."""
    import re

    places = [match.span() for match in re.finditer(rb"[^\s,:;{}\[\]\"|]+", content[:20000])] or [(0, 0)]
    first, stop = rng.choice(places)
    return content[:first] + rng.choice(TOKENS) + content[stop:]


def _inserted(content: bytes, rng: random.Random) -> bytes:
    place = rng.randint(0, len(content))
    return content[:place] + rng.choice(TOKENS) + content[place:]


def _long_line(content: bytes, rng: random.Random) -> bytes:
    place = rng.randint(0, len(content))
    return content[:place] + rng.choice((b"a", b" a", b"9", b"a ", b"(", b"\xc3\xa9")) * 100_000 + content[place:]


def _encoded(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", errors="replace")
    return text.encode(rng.choice(("utf-16", "utf-16le", "utf-32", "cp1252", "utf-8-sig", "utf-7")), errors="replace")


def _lines_moved(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def _line_ends(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\x0b", b"\xe2\x80\xa8")))


FAULTS = (
    _flipped, _flipped, _cut, _deleted, _doubled, _zeroed, _token, _token, _token, _inserted, _inserted, _long_line,
    _encoded, _lines_moved, _line_ends,
)  # fmt: skip


def try_all(
    count: int, seed: int, base: Path, only: str = "", *, exactly: bool = False, slow_s: float = math.inf
) -> list[str]:
    """``count`` damaged inputs, as many of each reader as of the others; one text for every one that went wrong.

    only: readers with this in their name, or, with ``exactly``, of this name; slow_s: seconds after which an input is
    one that went wrong, infinite in tests.
    """
    found: list[str] = []
    names = [name for name in READERS if (name == only if exactly else only in name)]
    sound: dict[str, Path] = {}
    for name in names:
        sound[name] = base / "sound" / name.replace(" ", "_").replace("/", "_")
        sound[name].mkdir(parents=True)
        READERS[name].make(sound[name])
    for number in range(count):
        name = names[number % len(names)]
        case = number // len(names)
        rng = random.Random(f"{seed} {name} {case}")
        folder = sound[name]
        path = folder / READERS[name].damaged
        whole = path.read_bytes()
        kept = {p: p.read_bytes() for p in path.parent.iterdir() if p.is_file()}
        path.write_bytes(damage(whole, rng))
        error = _error(READERS[name], folder, slow_s)
        if error:
            found.append(f"--- {name}, case {case}: {error}")
        shutil.rmtree(folder / "out", ignore_errors=True)
        shutil.rmtree(folder.parent / "out", ignore_errors=True)
        shutil.rmtree(folder / "copy", ignore_errors=True)
        for other in path.parent.iterdir():
            if other.name.startswith(".backup"):
                shutil.rmtree(other)
        for other, content in kept.items():
            other.write_bytes(content)
        path.write_bytes(whole)
    return found


def _error(reader: Reader, folder: Path, slow_s: float) -> str:
    begun = time.process_time()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            reader.read(folder)
    except RecitativeError as error:
        text = str(error)
        try:
            text.encode("utf-8", errors="surrogateescape")
        except UnicodeEncodeError:
            return f"an error that cannot be printed: {text!r}"
        if "\n" in text or len(text) > 3000:
            return f"an error of {len(text)} characters, {text.count(chr(10)) + 1} lines: {text[:300]!r}"
    except Exception:  # what this is about
        return traceback.format_exc(limit=-4)
    seconds = time.process_time() - begun
    return f"took {seconds:.1f} s" if seconds > slow_s else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="damaged inputs")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds damage the same bytes")
    parser.add_argument("--only", default="", help="readers with this in their name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = try_all(options.count, options.seed, Path(folder), options.only, slow_s=SLOW_S)
    for one in found:
        print(one)
    kinds = Counter(one.strip().splitlines()[-1][:100] for one in found)
    for kind, times in kinds.most_common():
        print(f"{times:5} {kind}")
    print(f"{options.count} damaged inputs, {len(found)} with an error that is not ours")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
