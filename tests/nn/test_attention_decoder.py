"""The attention decoder: one path for stepping, scoring and sampling, and scores that are probabilities."""

import math
from itertools import product

import pytest
import torch
from torch.testing import assert_close

from contract import verify_contract
from recitative.config import AttentionSettings, Settings, validate_tree
from recitative.errors import UsageError
from recitative.nn.heads import AttentionDecoder, correct_labels, cross_entropy
from recitative.nn.ragged import valid_mask
from recitative.stage import Padded

WIDTH, TOKENS = 6, 4
FRAMES = torch.tensor([12, 5, 8, 0])
COUNTS = torch.tensor([3, 5, 0, 2])  # labels


def build(tokens=TOKENS, **settings):
    torch.manual_seed(0)
    values = {"hidden": 7, "embedding": 3, "key_width": 5, "location_channels": 2, "location_kernel": 3} | settings
    decoder = AttentionDecoder(WIDTH, tokens, AttentionSettings(**values))
    with torch.no_grad():
        decoder.output.weight.mul_(5.0)  # otherwise all tokens are nearly alike
    return decoder.eval()


def audio(rows=4):
    data = torch.randn(rows, 12, WIDTH, generator=torch.Generator().manual_seed(1))
    return Padded(data.masked_fill(~valid_mask(Padded(data, FRAMES[:rows]))[..., None], float("nan")), FRAMES[:rows])


def texts():
    """Labels in 1..V-1; the padding holds labels as well."""
    return Padded(torch.randint(1, TOKENS, (4, 5), generator=torch.Generator().manual_seed(2)), COUNTS)


def row(x, i):
    n = int(x.lengths[i])
    return Padded(x.data[i : i + 1, :n], x.lengths[i : i + 1])


def test_as_a_stage_before_an_utterance_it_keeps_the_contract():
    def labels(shape, generator):
        return torch.randint(0, TOKENS, shape, generator=generator)

    with torch.no_grad():
        verify_contract(build().speller(row(audio(), 0)), labels, longest=9, cuttings=4, gradients=False)


def test_a_text_as_a_whole_equals_the_same_text_label_by_label():
    decoder, encoded, labels = build(), audio(), texts()
    whole = decoder(encoded, labels).data
    speller = decoder.speller(encoded)
    state, ones = speller.initial_state(4), torch.ones(4, dtype=torch.int64)
    for i, previous in enumerate([torch.zeros(4, dtype=torch.int64), *labels.data.unbind(1)]):
        log_probs, state = speller.step(Padded(previous[:, None], ones), state, last=False)
        within = labels.lengths >= i
        assert_close(log_probs.data[within, 0], whole[within, i])


def test_a_row_alone_equals_the_row_in_a_batch():
    decoder, encoded, labels = build(), audio(), texts()
    together, scores = decoder(encoded, labels), decoder.score(encoded, labels)
    assert together.lengths.tolist() == (COUNTS + 1).tolist()
    for i, n in enumerate(COUNTS.tolist()):
        assert_close(decoder(row(encoded, i), row(labels, i)).data[0], together.data[i, : n + 1])
        assert_close(decoder.score(row(encoded, i), row(labels, i))[0], scores[i])


def test_a_score_is_the_sum_of_the_log_probabilities_of_the_labels_and_the_end():
    decoder, encoded, labels = build(), audio(), texts()
    with torch.no_grad():
        log_probs, scores = decoder(encoded, labels).data, decoder.score(encoded, labels)
    for i, n in enumerate(COUNTS.tolist()):
        said = [*labels.data[i, :n].tolist(), 0]
        assert_close(float(scores[i]), sum(float(log_probs[i, k, token]) for k, token in enumerate(said)), rtol=1e-5,
                     atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("end_bias", [0.0, 3.0])
def test_the_probabilities_of_all_texts_and_of_those_not_yet_ended_sum_to_one(end_bias):
    decoder, encoded = build(tokens=3), row(audio(), 0)
    with torch.no_grad():
        decoder.output.bias[0] += end_bias
    total, longest = 0.0, 4
    for n in range(longest + 1):
        labels = Padded(
            torch.tensor(list(product([1, 2], repeat=n)), dtype=torch.int64).reshape(2**n, n), torch.full((2**n,), n)
        )
        scores = decoder.score(encoded, labels)
        total += float(scores.detach().exp().sum())
    assert total < 1
    ends = decoder(encoded, labels).data[:, longest, 0]  # ln P(end) after each of the longest texts
    going_on = (scores - ends).exp() * (1 - ends.exp())
    assert math.isclose(total + float(going_on.detach().sum()), 1.0, rel_tol=1e-5)
    if end_bias:
        assert total > 0.95


def test_many_texts_for_one_utterance_score_as_each_of_them_alone():
    decoder, encoded, labels = build(), row(audio(), 0), texts()
    expected = [decoder.score(encoded, row(labels, i))[0] for i in range(4)]
    assert_close(decoder.score(encoded, labels), torch.stack(expected))


def test_greedy_spelling_takes_the_likeliest_label_until_the_end():
    decoder, encoded = build(), audio()
    with torch.no_grad():
        decoder.output.bias[0] += 1.0
    spelled = decoder.greedy(encoded, most_labels=6)
    log_probs = decoder(encoded, spelled).data
    for i, n in enumerate(spelled.lengths.tolist()):
        likeliest = log_probs[i].argmax(dim=-1).tolist()
        assert likeliest[:n] == spelled.data[i, :n].tolist()
        assert n == 6 or likeliest[n] == 0


def test_greedy_spelling_may_say_nothing():
    decoder = build()
    with torch.no_grad():
        decoder.output.bias[0] = 100.0
    assert decoder.greedy(audio(), most_labels=6).lengths.tolist() == [0, 0, 0, 0]
    assert decoder.greedy(audio(), most_labels=0).data.shape == (4, 0)


def test_sampling_feeds_what_the_decoder_said_itself_and_only_in_training():
    decoder, encoded, labels = build(sampling=1.0), audio(), texts()
    with torch.no_grad():
        decoder.output.bias[3] = 100.0  # it says nothing but 3
    own_words = Padded(torch.full_like(labels.data, 3), labels.lengths)
    expected, forced = decoder(encoded, own_words).data, decoder(encoded, labels).data
    sampled = decoder.train()(encoded, labels).data
    within = valid_mask(Padded(sampled, COUNTS + 1))
    assert_close(sampled[within], expected[within])
    assert not torch.allclose(sampled[within], forced[within])
    assert torch.equal(decoder.score(encoded, labels), decoder.eval().score(encoded, labels))


def test_an_end_that_was_drawn_is_not_fed():
    decoder, encoded, labels = build(sampling=1.0), audio(), texts()
    with torch.no_grad():
        decoder.output.bias[0] = 100.0
    within = valid_mask(Padded(labels.data.new_zeros(4, 6), COUNTS + 1))
    assert_close(decoder.train()(encoded, labels).data[within], decoder.eval()(encoded, labels).data[within])


def test_labels_are_drawn_as_often_as_the_decoder_believes_and_the_setting_says():
    decoder = build(sampling=0.5)
    with torch.no_grad():
        decoder.output.weight.zero_()
        decoder.output.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    fed, n = [], 4000
    decoder.embedding.register_forward_hook(lambda _, inputs, __: fed.append(inputs[0]))
    encoded = Padded(torch.zeros(n, 1, WIDTH), torch.ones(n, dtype=torch.int64))
    decoder.train()(encoded, Padded(torch.full((n, 1), 2), torch.ones(n, dtype=torch.int64)))
    shares = torch.bincount(fed[1].flatten(), minlength=TOKENS) / n
    # Half of the labels stay 2, as do those for which the end was drawn; four standard deviations are 0.03.
    assert_close(shares, torch.tensor([0.0, 0.1, 0.5 + 0.15 + 0.05, 0.2]), atol=0.03, rtol=0)


def test_the_seed_decides_what_is_drawn():
    decoder, encoded, labels = build(sampling=0.5, dropout=0.3).train(), audio(), texts()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(decoder(encoded, labels).data)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_that_of_each_label_and_end_with_a_part_spread_over_all_tokens(smoothing):
    decoder, encoded, labels = build(), audio(), texts()
    log_probs = decoder(encoded, labels)
    expected = 0.0
    for i, n in enumerate(COUNTS.tolist()):
        for k, token in enumerate([*labels.data[i, :n].tolist(), 0]):
            target = [smoothing / TOKENS + (1 - smoothing) * (v == token) for v in range(TOKENS)]
            expected -= sum(p * float(q) for p, q in zip(target, log_probs.data[i, k].detach(), strict=True))
    loss_sum, count = cross_entropy(log_probs, labels, smoothing)
    assert count == int(COUNTS.sum()) + 4
    assert math.isclose(float(loss_sum.detach()), expected, rel_tol=1e-5)


def test_correct_labels_are_counted_within_the_texts_and_at_their_ends():
    labels = Padded(torch.tensor([[1, 2], [3, 3]]), torch.tensor([2, 1]))
    said = torch.tensor([[1, 1, 0], [3, 0, 0]])  # wrong once; the last of the second row lies beyond its end
    log_probs = torch.nn.functional.one_hot(said, TOKENS).float()
    assert correct_labels(Padded(log_probs, labels.lengths + 1), labels) == 4


def test_padding_reaches_no_gradient():
    decoder, encoded, labels = build(sampling=0.5).train(), audio(), texts()
    cross_entropy(decoder(encoded, labels), labels)[0].backward()
    for name, parameter in decoder.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name
        assert bool((parameter.grad != 0).any()), name


def test_a_location_kernel_without_a_middle_is_refused():
    with pytest.raises(UsageError, match="location_kernel=4 must be odd"):
        validate_tree(Settings, {"model": {"attention": {"location_kernel": 4}}}, where="test")
