"""Embedding and tied output: against a look-up and a matrix product by hand, and the contract."""

import pytest
import torch
from torch.testing import assert_close

from contract import verify_contract
from recitative.config import RecurrentSettings
from recitative.nn.heads import Embedding, TiedLogProbs
from recitative.nn.ragged import detach
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain
from recitative.stage import Padded

TOKENS, WIDTH, HIDDEN = 7, 4, 6


def ids(shape, generator):
    return torch.randint(0, TOKENS, shape, generator=generator)


def chain(hidden=HIDDEN):
    torch.manual_seed(1)
    embedding = Embedding(TOKENS, WIDTH)
    core = RecurrentStack(WIDTH, RecurrentSettings(direction="forward", layers=2, hidden=hidden))
    return Chain({"embedding": embedding, "core": core, "head": TiedLogProbs(hidden, embedding)}).eval()


@pytest.mark.parametrize("stage", [Embedding(TOKENS, WIDTH), chain(), chain(hidden=WIDTH)])
def test_tokens_to_vectors_to_log_probabilities_keep_the_contract(stage):
    """Less the gradients: a token has none. Those of the weights are the next test's."""
    verify_contract(stage.requires_grad_(False), ids, gradients=False, cuttings=3)


def test_gradients_of_the_weights_are_the_same_in_pieces():
    network, x = chain(), ids((3, 10), torch.Generator().manual_seed(2))

    def gradients(cuts):
        network.zero_grad()
        state, total = network.initial_state(3), 0.0
        for piece in x.split(cuts, dim=1):
            y, state = network.step(Padded(piece, torch.full((3,), piece.shape[1])), state, last=False)
            total = total + y.data.square().sum()
        total.backward()
        return {name: p.grad.clone() for name, p in network.named_parameters()}

    whole = gradients([10])
    for name, gradient in gradients([1, 6, 3]).items():
        assert_close(gradient, whole[name], atol=1e-4, rtol=1e-4)  # float32 sums in another order


def test_padding_may_be_any_number():
    embedding = Embedding(TOKENS, WIDTH)
    x = Padded(torch.tensor([[1, 2, 3], [4, -1, 10**9]]), torch.tensor([3, 1]))
    y, _ = embedding.step(x, {}, last=True)
    assert_close(y.data[1, 0], embedding.weight[4])
    y.data.sum().backward()


@pytest.mark.parametrize("width", [WIDTH, HIDDEN])
def test_the_output_is_the_product_with_the_embeddings_own_table(width):
    embedding = Embedding(TOKENS, WIDTH)
    head = TiedLogProbs(width, embedding)
    torch.nn.init.normal_(head.bias)
    x = torch.randn(width)
    scores = [float((embedding.weight[t] @ head.project(x) + head.bias[t]).detach()) for t in range(TOKENS)]
    expected = torch.log(torch.exp(torch.tensor(scores)) / torch.exp(torch.tensor(scores)).sum())
    assert_close(head(x[None, None])[0, 0], expected, atol=1e-6, rtol=1e-5)


def test_the_table_is_one_parameter_under_one_name_and_learns_from_both_sides():
    network = chain()
    assert [name for name, p in network.state_dict().items() if p.shape[0] == TOKENS and p.dim() == 2] == [
        "stages.embedding.weight"
    ]
    x = Padded(torch.tensor([[1, 2]]), torch.tensor([2]))
    y, _ = network.step(x, detach(network.initial_state(1)), last=True)
    y.data[0, 1, 5].backward()
    touched = network.stages["embedding"].weight.grad.abs().sum(1) > 0
    assert touched.all()  # tokens 1 and 2 as inputs, all as outputs
