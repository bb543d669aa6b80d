"""A recognizer of phones from lexicon to text: trained, averaged, decoded, exported, and heard in pieces."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest
import tiny
import torch

from command_line import refusal, run
from recitative.asr.data import load_dev_set
from recitative.asr.decoding import DecodingOptions
from recitative.asr.kind import RECOGNIZER, Language
from recitative.asr.network import new_transcriber
from recitative.asr.recognizer import Recognizer
from recitative.asr.task import dev_scores
from recitative.asr.transcript import Partial, Transcript
from recitative.audio.files import write_wav
from recitative.data.directory import DataDirectory
from recitative.decoding.hotwords import Grammar, HotWord
from recitative.model.export import export_checked
from recitative.model.folder import load_model, save_model
from recitative.score.wer import score
from recitative.text.tokens import Lexicon, TokenTable

PHONES = TokenTable(("<blank>", "AA", "BB", "CC"))
SOUNDS = {"a": "AA", "b": "BB", "c": "CC"}
SPELLINGS = ["".join(letters) for n in (1, 2, 3) for letters in itertools.product("abc", repeat=n)]
LEXICON = Lexicon({word: (tuple(SOUNDS[letter] for letter in word),) for word in SPELLINGS})
FORWARD = {"recurrent": {"direction": "forward", "layers": 1, "hidden": 16}, "lookahead_frames": 2}


def talker(words=LEXICON, **core):
    """Random weights over phones that say something or other all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "TOKENS", PHONES)
        return dataclasses.replace(tiny.recognizer(seed=2, **(core or FORWARD)), language=Language(words))


def write_inputs(folder):
    """The tone corpus, its lexicon and table, as the commands make them."""
    train = {"epochs": 2, "batch_s": 3.0, "workers": 0, "device": "cpu", "warmup_steps": 2, "threads": 1}
    config = tiny.settings(model={"front_end": {"window": 4, "stride": 4}, **FORWARD}, train=train)
    paths = tiny.write_inputs(folder, config, train=6, dev=3)
    (folder / "dictionary").write_text(
        "".join(f"{word.upper()} {' '.join(ways[0])}\n" for word, ways in LEXICON.entries.items())
    )
    command = ("lexicon", paths["train"], paths["dev"], "--dictionary", folder / "dictionary", "--lower")
    run(*command, "--output", folder / "lexicon.txt")
    (folder / "all_phones").write_text("abc AA BB CC\n")
    run("tokens", folder / "all_phones", "--unit", "phone", "--output", folder / "tokens.txt")
    return config, paths


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Two epochs and their average, by the commands."""
    folder = tmp_path_factory.mktemp("phones")
    config, paths = write_inputs(folder)
    (folder / "conf.yaml").write_text(json.dumps(config.model_dump(mode="json")))  # JSON is YAML
    places = ("--train", paths["train"], "--dev", paths["dev"], "--tokens", paths["tokens"], "--cmvn", paths["cmvn"])
    more = ("--lexicon", folder / "lexicon.txt", "--conf", folder / "conf.yaml", "--quiet")
    run("train", *places, *more, "--output", folder / "exp")
    run("average", folder / "exp")
    return folder


def test_the_trained_model_keeps_its_lexicon_and_writes_its_words(experiment):
    made = load_model(experiment / "exp" / "model", RECOGNIZER)
    assert made.language.lexicon == Lexicon.read(experiment / "lexicon.txt")
    assert made.tokens == PHONES
    for name, pieces in (("whole", ()), ("pieces", ("--chunk-ms", 30))):
        run("decode", experiment / "exp" / "model", experiment / "dev" / "data", "--output", experiment / name, *pieces)
    for table in ("text", "nbest.jsonl"):
        assert (experiment / "whole" / table).exists()
    assert (experiment / "whole" / "text").read_bytes() == (experiment / "pieces" / "text").read_bytes()
    utterances = DataDirectory.read(experiment / "dev" / "data").utterances
    rows = [line.split() for line in (experiment / "whole" / "text").read_text().splitlines()]
    assert [row[0] for row in rows] == [u.utt_id for u in utterances]
    assert {word for row in rows for word in row[1:]} <= set(made.language.lexicon.entries)


def test_epochs_are_ranked_by_the_error_rate_of_the_likeliest_phones(experiment):
    made = load_model(experiment / "exp" / "model", RECOGNIZER)
    dev = DataDirectory.read(experiment / "dev" / "data")
    with torch.no_grad():
        scores = dev_scores(made, load_dev_set(dev, made.settings, made.spelling, experiment), torch.device("cpu"))
    arguments = ("--output", experiment / "greedy", "--greedy")
    run("decode", experiment / "exp" / "model", experiment / "dev" / "data", *arguments)
    refs = {u.utt_id: " ".join(SOUNDS[letter] for letter in u.text.replace(" ", "")) for u in dev.utterances}
    lines = (experiment / "greedy" / "text").read_text().splitlines()
    hyps = {utt_id: " ".join(phones) for utt_id, *phones in map(str.split, lines)}
    assert scores["dev_per"] == pytest.approx(score(refs, hyps).total.rate)
    assert scores["score"] == pytest.approx(scores["dev_per"], abs=1e-6)
    assert "dev_wer" not in scores  # that of words without a language model would say little


def test_training_sees_the_first_pronunciations_and_names_what_has_none(experiment, tmp_path):
    made = load_model(experiment / "exp" / "model", RECOGNIZER)
    [word, *_] = sorted(made.language.lexicon.entries)
    assert made.spelling.encode(word) == [PHONES.ids[SOUNDS[letter]] for letter in word]
    paths = {name: experiment / name / "data" for name in ("train", "dev")}
    (tmp_path / "few").write_text("x AA\n")
    command = ["train", "--train", paths["train"], "--dev", paths["dev"], "--cmvn", experiment / "cmvn", "--quiet"]
    command += ["--tokens", experiment / "tokens.txt", "--conf", experiment / "conf.yaml", "--output", tmp_path / "exp"]
    told = run(*command, "--lexicon", tmp_path / "few", status=1).err
    assert re.search(r"utterance 's0-000'.* not in the lexicon", told)


def test_a_crf_follows_ctc(experiment, tmp_path):
    paths = {name: experiment / name / "data" for name in ("train", "dev")}
    command = ["train", "--train", paths["train"], "--dev", paths["dev"], "--init", experiment / "exp" / "model"]
    command += ["--tokens", experiment / "tokens.txt", "--lexicon", experiment / "lexicon.txt", "--quiet"]
    command += ["--conf", experiment / "conf.yaml", "train.epochs=6", "train.learning_rate=0.01"]
    run(*command, "--output", tmp_path / "crf", "crf.weight=0.9")
    log = [json.loads(line) for line in (tmp_path / "crf" / "train.jsonl").read_text().splitlines()]
    epochs = [row for row in log if row["event"] == "epoch"]
    assert epochs[-1]["dev_crf_loss"] < epochs[0]["dev_crf_loss"]
    losses = [float(loss) for loss in re.findall(r"CRF loss ([0-9.]+)", run("average", tmp_path / "crf").out)]
    assert losses[0] == pytest.approx(min(row["dev_crf_loss"] for row in epochs), abs=1e-4)
    refused = (*command, "--output", tmp_path / "both", "crf.weight=0.9", "--teacher", experiment / "exp" / "model")
    assert "crf.weight: is for transcripts, without --teacher" in run(*refused, status=2).err


def test_the_exported_file_says_what_the_folder_says(experiment, tmp_path):
    run("export", experiment / "exp" / "model", "--output", tmp_path / "m.onnx", "--weights", "float32")
    files = [u.recording_path for u in DataDirectory.read(experiment / "dev" / "data").utterances]
    from_file = run("transcribe", *files, "--model", tmp_path / "m.onnx", "--format", "jsonl", "--jobs", 1)
    from_folder = run("transcribe", *files, "--model", experiment / "exp" / "model", "--format", "jsonl", "--jobs", 1)
    texts = [[json.loads(line)["text"] for line in done.lines] for done in (from_file, from_folder)]
    assert len(texts[0]) == len(files)
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A file and a folder of a model that talks, and a recording."""
    folder = tmp_path_factory.mktemp("talker")
    made = talker()
    save_model(made, folder / "model")
    export_checked(made, folder / "m.onnx", dev=None, weights="float32")
    write_wav(folder / "talk.wav", tiny.speak("cab bca b ac", np.random.default_rng(3)), tiny.RATE)
    return folder


def transcribe(place, *options, model="m.onnx"):
    files = (place / "talk.wav", "--model", place / model, "--format", "jsonl", "--jobs", 1)
    return run("transcribe", *files, *options).json


def test_words_of_the_lexicon_are_written_with_times_and_confidences(place):
    said = transcribe(place)
    assert len(said["words"]) >= 2
    for word in said["words"]:
        assert word["word"] in LEXICON.entries
        assert 0 <= word["start"] < word["end"] <= said["duration"]
        assert 0 <= word["confidence"] <= 1
    assert said["text"] == " ".join(word["word"] for word in said["words"])
    assert transcribe(place, model="model")["text"] == said["text"]
    assert transcribe(place, "--streaming")["text"] == said["text"]


def test_a_hot_word_with_a_pronunciation_of_its_own_can_be_heard(place):
    letters = transcribe(place)["text"].replace(" ", "")
    phones = " ".join(SOUNDS[letter] for letter in letters[:4])  # no word of the lexicon is so long
    said = transcribe(place, "--hotwords", f"zulu={phones}:9")
    assert "zulu" in said["text"].split()
    (place / "hot.txt").write_text(f"zulu={phones}:9\n")
    assert transcribe(place, "--hotwords", place / "hot.txt") == said


def test_a_list_of_hot_words_may_be_long(place):
    many = ", ".join(f"w{number}=AA BB CC CC BB AA AA BB:0" for number in range(40))
    assert len(many) > 255  # longer than a file's name may be
    assert transcribe(place, "--hotwords", many)["words"]


def test_what_the_model_cannot_write_is_refused(place):
    files = ("transcribe", place / "talk.wav", "--model", place / "m.onnx", "--jobs", 1)
    told = refusal(*files, "--hotwords", "zulu", status=1)
    assert re.search(r"hot word 'zulu': not in the lexicon; .*'zulu=AA BB CC'", told)
    (place / "foreign").write_text("go zulu\n")
    told = refusal(*files, "--grammar", place / "foreign", status=1)
    assert "grammar: 'go', 'zulu' not in the model's lexicon" in told
    save_model(talker(None), place / "bare")
    told = refusal(*files[:2], "--model", place / "bare", "--jobs", 1, "--hotwords", "zulu=AA BB")
    assert "hot words: this model has phones and no lexicon" in told


def pieces(samples, rng):
    while len(samples):
        length = int(rng.choice([0, 1, rng.integers(1, 3000)]))
        yield samples[:length]
        samples = samples[length:]


def said(transcript):
    """All but numbers that feel the order of float32's sums."""
    segments = [(s.start_s, s.end_s, s.whole, s.text) for s in transcript.segments]
    return [(word.word, word.start_s, word.end_s) for word in transcript.words], transcript.duration_s, segments


OPTIONS = {
    "lexicon": DecodingOptions(),
    "alternatives": DecodingOptions(count=5, beam=6),
    "hot words": DecodingOptions(hot_words=(HotWord("cab", 3.0), HotWord("zulu", 3.0, ("CC", "AA")))),
    "grammar": DecodingOptions(grammar=Grammar("(a | b | c | ab | cab)")),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("rate", [tiny.RATE, 11025])
def test_a_stream_in_any_pieces_says_what_the_whole_says(place, name, rate):
    recognizer = Recognizer.load(place / "m.onnx", options=OPTIONS[name])
    rng = np.random.default_rng(7)
    words = 0
    for text in ("abc acab", "b", "cab bca b"):
        length = int(tiny.LETTER_S * rate) * len(text)
        samples = np.interp(np.arange(length) / rate, np.arange(int(tiny.LETTER_S * tiny.RATE) * len(text)) / tiny.RATE,
                            tiny.speak(text, rng)).astype(np.float32)  # fmt: skip
        whole = said(recognizer.transcribe(samples, rate))
        words += len(whole[0])
        for _ in range(4):
            stream = recognizer.stream()
            events = [event for piece in pieces(samples, rng) for event in stream.accept(piece, rate)]
            duration_s = stream.duration_s
            events += stream.finish()
            assert said(Transcript.of(events, duration_s)) == whole
            text = " ".join(word for word, *_ in whole[0])
            assert all(text.startswith(event.stable) for event in events if isinstance(event, Partial))
    assert words >= 3  # otherwise the test could not fail


def test_other_options_leave_the_model_as_it_was():
    transcriber = new_transcriber(talker())
    rows = [tiny.speak("abc", np.random.default_rng(1))]
    before = transcriber.transcribe(rows)
    wished = transcriber.with_options(DecodingOptions(lexicon=LEXICON.only(["b", "c"])))
    assert {word.word for word in wished.transcribe(rows)[0].words} <= {"b", "c"}
    assert transcriber.transcribe(rows) == before
