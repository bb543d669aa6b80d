"""Writing text: prompts stay, the unknown symbol never comes, lines keep to their words and do not know each other."""

from collections import Counter

import numpy as np
import pytest
import torch

from recitative.cli import generate as cli
from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import LONGEST, LanguageModelSettings, RecurrentLanguageModel, Sampling, continue_text
from recitative.lm.task import new_language_model, new_scorer
from recitative.model.folder import save_model
from recitative.stage import Padded
from recitative.text.tokens import END, Vocabulary

TEXTS = ["the cat sat", "on the mat", "a cat ran"]
UNITS = ["word", "character"]


class Constant:
    """A network that says the same, whatever it reads."""

    stride, lookahead = 1, 0

    def __init__(self, scores):
        self._scores = np.asarray(scores, np.float32)

    def output_lengths(self, lengths):
        return lengths

    def initial_state(self, n):
        return {"nothing": np.zeros((n, 1), np.float32)}

    def step(self, x, state, *, last):
        return Padded(np.broadcast_to(self._scores, (*x.data.shape, len(self._scores))), x.lengths), state


def saying(unit, **preferred):
    """A model to which all tokens are alike but those preferred: end, space, unknown, or a symbol."""
    vocabulary = Vocabulary.from_texts(TEXTS, unit)
    places = {"end": END, "space": vocabulary.space, "unknown": vocabulary.unknown}
    scores = np.zeros(len(vocabulary))
    for name, score in preferred.items():
        scores[places.get(name) if name in places else vocabulary.encode(name)[0]] = score
    return RecurrentLanguageModel(Constant(scores), vocabulary)


def random_model(unit):
    torch.manual_seed(0)
    settings = LanguageModelSettings.model_validate({"text": {"unit": unit}, "model": {"embedding": 6}})
    model = new_language_model(settings, Vocabulary.from_texts(TEXTS, unit))
    model.network.eval()
    return model


def lines_of(model, prompt="", sampling=Sampling(), words=4, count=1, seed=1):
    return continue_text(model, prompt, sampling, words=words, count=count, seed=seed)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("prompt", ["", "the", "the cat ", "a zebra", " a  cat"])
def test_lines_begin_with_the_prompt_and_never_hold_the_unknown_symbol(unit, prompt):
    lines = lines_of(saying(unit, unknown=50.0), prompt, count=50)
    known = {word for text in TEXTS for word in text.split()} if unit == "word" else set("thecasonmr ")
    for line in lines:
        assert line.startswith(prompt.strip())
        assert line
        rest = line[len(prompt.strip()) :]
        assert set(rest.split() if unit == "word" else rest) <= known
        assert "  " not in rest
        assert rest == rest.rstrip()
    assert len(set(lines)) > 20


@pytest.mark.parametrize("unit", UNITS)
def test_a_line_has_at_most_so_many_words_more(unit):
    model = saying(unit, end=-100.0)
    for words in (1, 3):
        assert {len(line.split()) for line in lines_of(model, "the cat ", words=words, count=20)} == {2 + words}
        assert {len(line.split()) for line in lines_of(model, words=words, count=20)} == {words}


def test_characters_go_on_with_the_last_word_of_the_prompt_unless_a_blank_ends_it():
    model = saying("character", t=50.0, end=-100.0)
    (line,) = lines_of(model, "ca", words=1)
    assert line.split()[0].startswith("cat")
    (line,) = lines_of(model, "ca ", words=1)
    assert line == f"ca {'t' * LONGEST}"


def test_a_word_that_is_too_long_ends():
    (line,) = lines_of(saying("character", t=50.0, end=-100.0), words=3)
    assert line == " ".join(["t" * LONGEST] * 3)


@pytest.mark.parametrize("unit", UNITS)
def test_the_end_of_the_sentence_ends_the_line_but_no_line_is_empty(unit):
    model = saying(unit, end=50.0)
    assert lines_of(model, "the cat", words=9) == ["the cat"]
    (line,) = lines_of(model, words=9)
    assert line in ({word for text in TEXTS for word in text.split()} if unit == "word" else set("thecasonmr"))


def test_a_model_without_a_word_says_nothing():
    vocabulary = Vocabulary.from_texts([""], "word")
    assert lines_of(RecurrentLanguageModel(Constant([0.0, 0.0]), vocabulary)) == [""]


def test_words_have_the_frequencies_of_the_model():
    model = saying("word", cat=1.0, sat=-1.0)
    found = Counter(line.split()[-1] for line in lines_of(model, "the", words=1, count=4000))
    words = sorted({word for text in TEXTS for word in text.split()})
    chances = np.exp([{"cat": 1.0, "sat": -1.0}.get(word, 0.0) for word in words])
    end = 4000 / (chances.sum() + 1)
    expected = 4000 * chances / (chances.sum() + 1)
    expected[words.index("the")] += end  # the sentence ends: the line is the prompt
    counts = np.array([found[word] for word in words])
    assert ((counts - expected) ** 2 / expected).sum() < 22.5  # chi-square with 6 degrees of freedom: 0.1 %


@pytest.mark.parametrize("unit", UNITS)
def test_a_line_depends_on_the_seed_and_not_on_the_lines_beside_it(unit):
    model = new_scorer(random_model(unit))
    many = lines_of(model, "the c", count=6)
    assert lines_of(model, "the c", count=2) == many[:2]
    assert lines_of(model, "the c", count=6, seed=2) != many
    assert len(set(many)) > 3


def test_a_low_temperature_or_share_leaves_the_likeliest():
    model = saying("word", mat=1.0)
    for sampling in (Sampling(temperature=0.01), Sampling(top_p=0.01)):
        assert lines_of(model, sampling=sampling, words=3) == ["mat mat mat"]


def test_the_command_line_prints_a_line_for_each(tmp_path, capsys, monkeypatch):
    save_model(random_model("word"), tmp_path / "lm")
    cli.text(["the", "zebra"], tmp_path / "lm", count=2, words=3)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == ["the", "the", "zebra", "zebra"]
    assert said.err == "prompt 'zebra': 'zebra' not in the vocabulary, read as unknown\n"
    monkeypatch.setattr("sys.stdin", ["the\n"])
    cli.text(["-"], tmp_path / "lm", count=2, words=3)
    assert capsys.readouterr().out.splitlines() == lines[:2]


def test_what_cannot_be_done_is_said_in_a_line(tmp_path):
    with pytest.raises(UsageError, match=r"--temperature 0: must be above 0; 0.1 is nearly always the likeliest word"):
        cli.text(["a"], tmp_path, temperature=0.0)
    with pytest.raises(UsageError, match="--top-p 2: must be above 0 and at most 1"):
        cli.text(["a"], tmp_path, top_p=2.0)
    with pytest.raises(DataError, match="none: is no language model"):
        cli.text(["a"], tmp_path / "none")
    (tmp_path / "lm.arpa").write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-1 <s>\n-1 </s>\n-1 a\n\n\\end\\\n")
    with pytest.raises(UsageError, match=r"lm.arpa: is an n-gram model; 'generate text' requires a recurrent one"):
        cli.text(["a"], tmp_path / "lm.arpa")
