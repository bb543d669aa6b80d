"""Training on text: streams that carry their state, exact resume, and a source whose entropy is known."""

import math
import random

import pytest
import torch
from torch.testing import assert_close

from recitative.cli import evaluate as model_cli
from recitative.cli import language as cli
from recitative.cli.main import train_recurrent
from recitative.config import load_tree
from recitative.data.tables import write_table
from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import LANGUAGE_MODEL, LanguageModelData, LanguageModelSettings, next_words
from recitative.lm.task import LanguageModelTask, new_language_model, new_scorer, read_texts, text_scores
from recitative.model.folder import load_model
from recitative.stage import Padded
from recitative.text.tokens import END, Vocabulary
from recitative.train.run import train_model
from recitative.train.task import TextStreams
from resuming import assert_resumes

CPU = torch.device("cpu")
TEXTS = ["a b", "b c a", "c", "a a b c", "", "c b"] * 4
SMALL = [
    "text.streams=3", "text.bptt=5", "text.min_count=1", "model.embedding=6", "model.recurrent.hidden=7",
    "model.dropout=0.3", "train.epochs=3", "train.warmup_steps=2", "train.checkpoint_every_steps=4",
    "train.threads=1", "train.device=cpu",
]  # fmt: skip


def settings(*overrides):
    return load_tree(LanguageModelSettings, None, [*SMALL, *overrides])


def task(*overrides, texts=TEXTS):
    made = settings(*overrides)
    vocabulary = Vocabulary.from_texts(texts, "word")
    torch.manual_seed(0)
    model = new_language_model(made, vocabulary)
    sentences = [vocabulary.encode(text) for text in texts]
    streams = TextStreams(sentences, streams=made.text.streams, bptt=made.text.bptt, seed=1)
    return LanguageModelTask(model, streams, ["a b"], CPU)


def joined(segments):
    """The streams again: inputs and targets of each row, one segment after another."""
    rows = len(segments[0].inputs.lengths)
    return [
        tuple(
            [int(token) for s in segments for token in part(s).data[row, : int(part(s).lengths[row])]]
            for part in (lambda s: s.inputs, lambda s: s.targets)
        )
        for row in range(rows)
    ]


@pytest.mark.parametrize(("streams", "bptt"), [(1, 100), (3, 4), (4, 1), (7, 3), (50, 2)])
def test_streams_hold_the_whole_text_once_and_nothing_is_left_out(streams, bptt):
    sentences = [[1, 2], [3], [], [4, 5, 6, 7]]
    text = TextStreams(sentences, streams=streams, bptt=bptt, seed=3)
    segments = list(text.segments(0, 0))
    assert len(segments) == text.num_segments
    rows = joined(segments)
    lengths = [len(inputs) for inputs, _ in rows]
    assert max(lengths) - min(lengths) <= 1
    inputs, targets = ([token for row in part for token in row] for part in zip(*rows, strict=True))
    assert inputs == [END, *targets[:-1]]  # each token is predicted from the one before
    found = " ".join(map(str, targets)).split(" 0")
    assert sorted(part.strip() for part in found[:-1]) == ["", "1 2", "3", "4 5 6 7"]


def test_the_order_depends_on_seed_and_epoch_alone():
    sentences = [[n] for n in range(1, 30)]

    def order(seed, epoch, start=0):
        text = TextStreams(sentences, streams=2, bptt=7, seed=seed)
        return joined(list(text.segments(epoch, start)))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) != order(2, 1)
    assert order(1, 1, start=2) == [tuple(part[14:] for part in row) for row in order(1, 1)]


def test_the_state_is_carried_from_segment_to_segment():
    """Segments of five tokens have the loss of the same streams read in one step."""
    made = task("model.dropout=0")
    made.network.eval()
    segments = list(made.batches(0, 0))
    losses = [made.loss(segment) for segment in segments]
    whole, network = 0.0, made.model.network
    for inputs, targets in joined(segments):
        x = Padded(torch.tensor([inputs]), torch.tensor([len(inputs)]))
        y, _ = network.step(x, network.initial_state(1), last=True)
        whole -= sum(float(y.data[0, t, target].detach()) for t, target in enumerate(targets))
    assert sum(float(loss.detach()) for loss, _ in losses) == pytest.approx(whole, rel=1e-5)
    assert sum(count for _, count in losses) == made.streams.num_tokens


def test_gradients_stop_at_the_segment_and_the_state_starts_anew_with_the_epoch():
    made = task("model.dropout=0")
    for segment in made.batches(0, 0):
        made.loss(segment)[0].backward()  # fails if the graph of the segment before were needed
    assert any(bool(value.any()) for value in made.network.carried.values())
    made.batches(1, 0)
    assert not any(bool(value.any()) for value in made.network.carried.values())


def test_a_state_that_is_not_finite_is_not_carried():
    made = task()
    for segment in made.batches(0, 0):
        made.loss(segment)
    kept = made.network.carried
    made.network.carry({name: value * float("nan") for name, value in kept.items()})
    for name, value in made.network.carried.items():
        assert_close(value, kept[name], atol=0, rtol=0)


@pytest.fixture
def corpus(tmp_path):
    write_table(tmp_path / "train" / "text", {f"u{n:02d}": text for n, text in enumerate(TEXTS)})
    write_table(tmp_path / "dev.txt", {"u1": "a b", "u2": "c c d"})
    return tmp_path


def data_in(corpus):
    return LanguageModelData(train=[corpus / "train"], dev=corpus / "dev.txt")


def train(corpus, folder, *overrides):
    return train_model(LANGUAGE_MODEL, settings(*overrides), data_in(corpus), corpus / folder, quiet=True)


@pytest.mark.parametrize("stop_at", [1, 3, 5, 6, 11])  # of 5 segments an epoch: 5 and 6 are at its end and beginning
@pytest.mark.parametrize("bf16", ["false", "true"])
def test_a_run_stopped_in_mid_epoch_ends_in_the_same_weights(corpus, stop_at, bf16):
    made = settings(f"train.bf16={bf16}")
    whole = assert_resumes(LANGUAGE_MODEL, made, data_in(corpus), corpus, LanguageModelTask, stop_at)
    assert whole.progress.step == 15


def test_a_folder_with_another_run_is_refused(corpus):
    train(corpus, "a")
    with pytest.raises(UsageError, match="a: holds a run with other settings"):
        train(corpus, "a", "train.epochs=4")
    write_table(corpus / "train" / "text", {"u1": "other words"})
    with pytest.raises(UsageError, match="is the checkpoint of a run with other settings or tokens than these"):
        train(corpus, "a")


def test_texts_without_words_are_refused(tmp_path):
    write_table(tmp_path / "text", {"u1": ""})
    with pytest.raises(DataError, match="text: has no words; at least one; add the transcripts"):
        read_texts([tmp_path])
    with pytest.raises(DataError, match="none: does not exist"):
        read_texts([tmp_path / "none"])


# A source of known entropy: each word is the one before the last again with probability 0.7, one of the two others
# with 0.1 each, and the sentence ends with 0.1. Its first two words are each of the three with 0.3.

WORDS = "abc"
KNOWN = (0.7, 0.1, 0.1, 0.1)
AT_FIRST = (0.3, 0.3, 0.3, 0.1)


def chances(words):
    return dict.fromkeys(WORDS, 0.3) if len(words) < 2 else {word: 0.7 if word == words[-2] else 0.1 for word in WORDS}


def sentence(rng):
    words = []
    while rng.random() >= 0.1:
        weights = chances(words)
        words.append(rng.choices(list(weights), list(weights.values()))[0])
    return " ".join(words)


def log_prob_of_source(text):
    words = text.split()
    return math.log(0.1) + sum(math.log(chances(words[:i])[word]) for i, word in enumerate(words))


def entropy(distribution):
    return -sum(p * math.log(p) for p in distribution)


# A sentence has a k-th token with probability 0.9^(k - 1): 1.9 of its first two on average, and 8.1 further ones.
ENTROPY = (1.9 * entropy(AT_FIRST) + 8.1 * entropy(KNOWN)) / 10  # nats a token


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("source"), random.Random(1)
    for name, sentences in (("train", 3000), ("dev", 1000)):
        write_table(folder / name, {f"u{n:04d}": sentence(rng) for n in range(sentences)})
    overrides = ["text.streams=32", "text.bptt=16", "model.embedding=24", "model.recurrent.hidden=24",
                 "model.dropout=0", "train.epochs=6", "train.learning_rate=0.02", "train.bf16=false"]  # fmt: skip
    train_model(
        LANGUAGE_MODEL,
        settings(*overrides),
        LanguageModelData(train=[folder / "train"], dev=folder / "dev"),
        folder / "exp",
        quiet=True,
    )
    return new_scorer(load_model(folder / "exp" / "model", LANGUAGE_MODEL)), read_texts([folder / "dev"])


def test_a_model_reaches_the_entropy_of_its_source(trained):
    scorer, dev = trained
    tokens = sum(len(text.split()) + 1 for text in dev)
    of_source = -sum(map(log_prob_of_source, dev)) / tokens
    assert of_source == pytest.approx(ENTROPY, rel=0.03)  # 10 000 tokens, so within about 1 %
    scores = text_scores(scorer, dev)
    assert scores["dev_loss"] == pytest.approx(of_source, rel=0.03)
    assert scores["dev_loss"] > of_source - 0.005  # nothing beats the source
    assert scores["dev_perplexity"] == pytest.approx(math.exp(scores["dev_loss"]))


def test_a_model_predicts_the_distribution_of_its_source(trained):
    scorer, _ = trained
    for prompt, likeliest in (("a b", "a"), ("c c b c a a c", "a"), ("b a c b b", "b")):
        found = {entry.word: math.exp(entry.log_prob) for entry in next_words(scorer, prompt, 4)}
        expected = {word: 0.7 if word == likeliest else 0.1 for word in (*WORDS, "</s>")}
        # One context each, heard by few weights: other first weights change it by 0.08, and so may another processor.
        assert found == pytest.approx(expected, abs=0.2)
    assert [entry.word for entry in next_words(scorer, "a b", 1)] == ["a"]


def test_the_command_line_trains_predicts_and_exports(corpus, capsys, monkeypatch):
    words = ["train.epochs=2", *SMALL[:6], *SMALL[7:]]
    train_recurrent([str(corpus / "train"), *words], corpus / "dev.txt", corpus / "lm", unit="word", quiet=True)
    said = capsys.readouterr()
    assert "2 epochs, 10 steps" in said.out
    assert "dev.txt: not in the vocabulary: 1 word ('d'), scored as unknown" in said.err
    model_cli.export(corpus / "lm" / "model", corpus / "lm.onnx")
    assert "lm.onnx: float32" in capsys.readouterr().out
    answers = []
    for model in (corpus / "lm" / "model", corpus / "lm.onnx"):
        cli.predict(["a b"], model, 2)
        cli.predict(["c d", "a b"], model, 2)
        answers.append(capsys.readouterr())
    assert answers[0] == answers[1]
    lines = answers[0].out.splitlines()
    assert len(lines) == 6
    assert lines[4:] == [f"a b\t{line}" for line in lines[:2]]
    assert answers[0].err == "prompt 'c d': 'd' not in the vocabulary, read as unknown\n"
    monkeypatch.setattr("sys.stdin", ["a b\n", "c\n"])
    cli.predict(["-"], corpus / "lm.onnx", 2)
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["a b", "a b", "c", "c"]


def test_a_command_without_text_says_what_it_needs(corpus):
    with pytest.raises(UsageError, match="--train: is needed to train a language model"):
        train_recurrent(["train.epochs=2"], corpus / "dev.txt", corpus / "lm")
    with pytest.raises(DataError, match="none: is no language model; an ARPA file or a recurrent model"):
        cli.predict(["a"], corpus / "none")
