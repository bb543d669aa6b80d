"""A language model's probabilities against its network stepped by hand, its folder, and what may come next."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from contract import verify_contract
from recitative.config import load_tree
from recitative.errors import DataError, UsageError
from recitative.lm.arpa import LanguageModel
from recitative.lm.recurrent import LANGUAGE_MODEL, History, LanguageModelSettings, RecurrentLanguageModel, next_words
from recitative.lm.task import new_language_model, new_scorer
from recitative.model.folder import TorchStage, load_model, save_model
from recitative.stage import Padded
from recitative.text.tokens import END, Vocabulary

TEXTS = ["a b ab", "ba", "", "b b b a ab ba"]
SENTENCES = [*TEXTS, "ab unheard x", "a"]


def language_model(unit="word", texts=TEXTS, seed=0, **network):
    """Random weights, scaled up so that the probabilities are far from even."""
    torch.manual_seed(seed)
    values = {"embedding": 6, "recurrent": {"hidden": 8, "layers": 2}} | network
    settings = LanguageModelSettings.model_validate({"text": {"unit": unit}, "model": values})
    model = new_language_model(settings, Vocabulary.from_texts(texts, unit))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(4.0)
    model.network.eval()
    return model


def log_prob_by_hand(model, text):
    """The chain rule over the tokens, one step of the network for each."""
    state, previous, total = model.network.initial_state(1), END, 0.0
    for token in [*model.vocabulary.encode(text), END]:
        x = Padded(torch.tensor([[previous]]), torch.tensor([1]))
        y, state = model.network.step(x, state, last=False)
        total, previous = total + float(y.data[0, 0, token].detach()), token
    return total


def log_prob_word_by_word(scorer: LanguageModel, text):
    state, total = scorer.start(), 0.0
    for word in text.split():
        log_prob, state = scorer.score(state, word)
        total += log_prob
    return total + scorer.finish(state)


SHAPES = [{}, {"tied": False}, {"embedding": 8}, {"recurrent": {"hidden": 8, "cell": "gru", "layer_norm": True}}]


@pytest.mark.parametrize("network", SHAPES)
def test_the_network_keeps_the_contract(network):
    model = language_model(**network)
    tokens = len(model.vocabulary)
    verify_contract(
        model.network.requires_grad_(False),
        lambda shape, g: torch.randint(0, tokens, shape, generator=g),
        gradients=False,  # a token has none
        cuttings=3,
        atol=1e-4,  # of logarithms down to -50
    )


@pytest.mark.parametrize("unit", ["word", "character"])
@pytest.mark.parametrize("network", SHAPES)
def test_teacher_forcing_equals_stepping_word_by_word(unit, network):
    model = language_model(unit, **network)
    scorer = new_scorer(model)
    together = scorer.score_texts(SENTENCES)
    for text, score in zip(SENTENCES, together, strict=True):
        assert score == pytest.approx(log_prob_by_hand(model, text), abs=1e-4)
        assert score == pytest.approx(log_prob_word_by_word(scorer, text), abs=1e-4)


def test_texts_are_scored_in_the_order_in_which_they_are_given_however_many():
    scorer = new_scorer(language_model())
    texts = [" ".join(["ab"] * (7 * n % 41)) for n in range(70)]
    for text, score in zip(texts, scorer.score_texts(texts), strict=True):
        assert score == pytest.approx(scorer.score_texts([text])[0], abs=1e-4)
    assert scorer.score_texts([]) == []


def test_the_probabilities_of_all_words_and_of_the_end_sum_to_one():
    scorer = new_scorer(language_model())
    for prompt in ("", "a b", "x"):
        state = after(scorer, prompt)
        words = [*(symbol.strip() for symbol in scorer.vocabulary.table.symbols[1:])]
        total = math.exp(scorer.finish(state)) + sum(math.exp(scorer.score(state, word)[0]) for word in words)
        assert total == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("prompt", ["", "ab", "b a"])
def test_spelled_words_and_the_end_share_what_malformed_text_leaves(prompt):
    """All words of up to three letters, all longer beginnings, the end, and what no sentence has: sum one."""
    scorer = new_scorer(language_model("character"))
    vocabulary, state = scorer.vocabulary, after(scorer, prompt)
    letters = [vocabulary.symbol(t) for t in range(1, len(vocabulary)) if t != vocabulary.space]
    go_on, first = scorer.go_on(state)
    total = math.exp(scorer.finish(state))
    total += math.exp(go_on + float(first.log_probs[vocabulary.space]))  # a space where a word should begin
    if prompt:
        total += math.exp(go_on + float(first.log_probs[END]))  # an end behind a space
    for length in (1, 2, 3):
        for word in itertools.product(letters, repeat=length):
            total += math.exp(scorer.score(state, "".join(word))[0])
    for beginning in itertools.product(letters, repeat=4):
        log_prob, history = go_on, first
        for token in vocabulary.encode_word("".join(beginning)):
            log_prob, history = log_prob + float(history.log_probs[token]), history.then(token)
        total += math.exp(log_prob)
    assert total == pytest.approx(1.0, abs=1e-4)


def after(scorer, prompt):
    state = scorer.start()
    for word in prompt.split():
        _, state = scorer.score(state, word)
    return state


class Counting(TorchStage):
    steps = 0

    def step(self, x, state, *, last):
        self.steps += 1
        return super().step(x, state, last=last)


def test_the_network_runs_once_for_each_state_and_only_when_asked():
    model = language_model()
    network = Counting(model.network)
    scorer = RecurrentLanguageModel(network, model.vocabulary)
    start = scorer.start()
    assert network.steps == 0
    states = {word: scorer.score(start, word)[1] for word in ("a", "b", "ab", "x")}
    assert network.steps == 1
    assert scorer.score(start, "ab")[1] is states["ab"]
    scorer.score(states["ab"], "a")
    scorer.finish(states["ab"])
    assert network.steps == 2
    assert len({start, *states.values()}) == 5  # each a key of its own


def test_many_states_can_be_asked_in_one_call():
    model = language_model()
    network = Counting(model.network)
    together, alone = RecurrentLanguageModel(network, model.vocabulary), new_scorer(model)
    first = after(together, "ab")
    states = [first, first, *(after(together, prompt) for prompt in ("a b", "", "ba ba"))]
    before = network.steps
    History.run(states)
    assert network.steps == before + 1
    for state, prompt in zip(states, ("ab", "ab", "a b", "", "ba ba"), strict=True):
        assert_close(state.log_probs, after(alone, prompt).log_probs, atol=1e-5, rtol=1e-5)
    assert network.steps == before + 1


def test_unknown_words_are_known_as_such():
    words, letters = (new_scorer(language_model(unit)) for unit in ("word", "character"))
    assert (words.knows("ab"), words.knows("bb")) == (True, False)
    assert (letters.knows("bb"), letters.knows("bx")) == (True, False)
    assert words.score(words.start(), "bb")[0] == words.score(words.start(), "<unk>")[0]


def test_the_next_words_are_the_likeliest_of_all_words():
    scorer = new_scorer(language_model())
    for prompt in ("", "ab a"):
        state = after(scorer, prompt)
        expected = {word: scorer.score(state, word)[0] for word in ("a", "b", "ab", "ba")}
        expected["</s>"] = scorer.finish(state)
        found = next_words(scorer, prompt, 3)
        assert [entry.word for entry in found] == sorted(expected, key=lambda word: -expected[word])[:3]
        assert [entry.log_prob for entry in found] == pytest.approx([expected[entry.word] for entry in found])
        assert len(next_words(scorer, prompt, 100)) == 5  # all there are, without <unk>


def test_the_next_spelled_words_are_the_likeliest_of_all_spellings():
    scorer = new_scorer(language_model("character"))
    for prompt in ("", "ab a"):
        state = after(scorer, prompt)
        spellings = ["".join(s) for n in range(1, 7) for s in itertools.product("ab", repeat=n)]
        expected = {word: scorer.score(state, word)[0] for word in spellings} | {"</s>": scorer.finish(state)}
        found = next_words(scorer, prompt, 4)
        assert [entry.word for entry in found] == sorted(expected, key=lambda word: -expected[word])[:4]
        assert [entry.log_prob for entry in found] == pytest.approx([expected[entry.word] for entry in found], abs=1e-5)


def test_a_folder_with_tokens_or_weights_of_another_model_is_named(tmp_path):
    folder = tmp_path / "model"
    save_model(language_model(), folder)
    (folder / "SHA256SUMS").unlink()
    save_model(language_model(embedding=5), tmp_path / "other")
    (tmp_path / "other" / "weights.safetensors").replace(folder / "weights.safetensors")
    with pytest.raises(DataError, match="does not hold this model's weights"):
        load_model(folder, LANGUAGE_MODEL)
    (folder / "tokens.txt").write_text("<blank> 0\n▁a 1\n")
    with pytest.raises(DataError, match="has no '<unk>'"):
        load_model(folder, LANGUAGE_MODEL)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.recurrent.direction=bidirectional", "direction='bidirectional': input should be 'forward'"),
        ("train.batch_s=10", "batch_s applies to audio only; see text.streams and text.bptt"),
        ("text.ubit=word", "unknown setting 'text.ubit'; did you mean 'unit'"),
        ("features.dim=3", "unknown setting 'features'; known here: kind, model, text, train"),
    ],
)
def test_settings_that_make_no_sense_for_text_are_refused(override, message):
    with pytest.raises(UsageError, match=message):
        load_tree(LanguageModelSettings, None, [override])


def test_one_setting_leaves_the_others_as_they_are():
    settings = load_tree(LanguageModelSettings, None, ["train.epochs=3", "model.recurrent.hidden=5"])
    assert settings.train.patience == LanguageModelSettings().train.patience != 0
    assert settings.model.recurrent.direction == "forward"
