"""The recurrent core against its equations written out, and its own properties."""

import pytest
import torch
from torch.testing import assert_close

from recitative.config import RecurrentSettings
from recitative.nn.ragged import cat, detach, select
from recitative.nn.recurrent import RecurrentStack
from recitative.stage import Padded


def weights(cell):
    return [getattr(cell.rnn, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def lstm(cell, x):
    """Hochreiter & Schmidhuber 1997 with forget gates, one frame at a time."""
    w, u, b, d = weights(cell)
    h = c = torch.zeros(u.shape[1])
    outputs = []
    for frame in x:
        i, f, g, o = (w @ frame + b + u @ h + d).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs)


def gru(cell, x):
    """Cho et al. 2014, with the reset gate after the recurrent matrix, as in cuDNN."""
    w, u, b, d = weights(cell)
    h = torch.zeros(u.shape[1])
    outputs = []
    for frame in x:
        (ri, zi, ni), (rh, zh, nh) = (w @ frame + b).chunk(3), (u @ h + d).chunk(3)
        r, z = torch.sigmoid(ri + rh), torch.sigmoid(zi + zh)
        h = (1 - z) * torch.tanh(ni + r * nh) + z * h
        outputs.append(h)
    return torch.stack(outputs)


def rnn(activation):
    def run(cell, x):
        w, u, b, d = weights(cell)
        h = torch.zeros(u.shape[1])
        outputs = []
        for frame in x:
            h = activation(w @ frame + b + u @ h + d)
            outputs.append(h)
        return torch.stack(outputs)

    return run


ORACLES = {"lstm": lstm, "gru": gru, "rnn_tanh": rnn(torch.tanh), "rnn_relu": rnn(torch.relu)}


def whole(stack, x):
    n, frames = x.shape[:2]
    y, _ = stack.step(Padded(x, torch.full((n,), frames)), stack.initial_state(n), last=True)
    return y.data


def build(**settings):
    torch.manual_seed(0)
    return RecurrentStack(4, RecurrentSettings(**{"layers": 1, "hidden": 3, "direction": "forward"} | settings)).eval()


@pytest.mark.parametrize("cell", list(ORACLES))
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_each_cell_follows_its_equations(cell, direction):
    stack = build(cell=cell, direction=direction)
    x = torch.randn(1, 9, 4)
    expected = ORACLES[cell](stack.layers[0].forward_cell, x[0])
    if direction == "bidirectional":
        backwards = ORACLES[cell](stack.layers[0].backward_cell, x[0].flip(0)).flip(0)
        expected = torch.cat([expected, backwards], dim=-1)
    assert_close(whole(stack, x)[0], expected, atol=1e-6, rtol=1e-5)  # float32, another order of sums


def test_a_layer_projects_normalizes_and_adds_what_came_in():
    stack = build(projection=4, layer_norm=True, residual=True)
    layer, x = stack.layers[0], torch.randn(1, 7, 4)
    expected = x[0] + layer.norm(layer.project(lstm(layer.forward_cell, x[0])))
    assert_close(whole(stack, x)[0], expected, atol=1e-6, rtol=1e-5)


def test_latency_control_with_an_endless_block_is_the_bidirectional_core():
    bidirectional = build(direction="bidirectional", layers=2)
    controlled = build(direction="latency_controlled", layers=2, chunk=100, right_context=0)
    controlled.load_state_dict(bidirectional.state_dict())
    x = torch.randn(2, 20, 4)
    assert_close(whole(controlled, x), whole(bidirectional, x), atol=1e-6, rtol=1e-5)


def test_latency_control_hears_exactly_its_right_context():
    stack = build(direction="latency_controlled", layers=2, chunk=4, right_context=3)
    x = torch.randn(1, 12, 4)
    beyond = x.clone()
    beyond[0, 7:] += 1.0  # the first block is frames 0 to 3 with 4 to 6 as context
    assert_close(whole(stack, beyond)[0, :4], whole(stack, x)[0, :4], atol=0, rtol=0)
    assert not torch.allclose(whole(stack, beyond)[0, 4:], whole(stack, x)[0, 4:])


def test_truncated_back_propagation_stops_the_gradient_and_nothing_else():
    stack = build(layers=2)
    x = torch.randn(1, 8, 4, requires_grad=True)
    _, state = stack.step(Padded(x[:, :4], torch.tensor([4])), stack.initial_state(1), last=False)
    y, _ = stack.step(Padded(x[:, 4:], torch.tensor([4])), detach(state), last=True)
    y.data.sum().backward()
    assert_close(y.data, whole(stack, x)[:, 4:], atol=1e-6, rtol=1e-5)
    assert float(x.grad[:, :4].abs().max()) == 0.0
    assert float(x.grad[:, 4:].abs().min()) > 0.0


def test_states_of_streams_can_be_forked_and_stepped_together():
    stack = build(direction="latency_controlled", chunk=3, right_context=2)
    first, second = torch.randn(1, 4, 4), torch.randn(1, 6, 4)
    _, a = stack.step(Padded(first, torch.tensor([4])), stack.initial_state(1), last=False)
    _, b = stack.step(Padded(second, torch.tensor([6])), stack.initial_state(1), last=False)
    both = select(cat([a, b]), [1, 0, 1])
    tail = torch.randn(1, 5, 4)
    y, _ = stack.step(Padded(tail.repeat(3, 1, 1), torch.tensor([5, 5, 5])), both, last=True)
    for row, state in zip(range(3), (b, a, b), strict=True):
        alone, _ = stack.step(Padded(tail, torch.tensor([5])), state, last=True)
        assert_close(y.data[row, : int(y.lengths[row])], alone.data[0], atol=1e-6, rtol=1e-5)


def test_after_the_last_step_the_state_is_that_of_a_new_stream():
    stack = build(direction="latency_controlled", chunk=3, right_context=2)
    _, state = stack.step(Padded(torch.randn(2, 7, 4), torch.tensor([7, 5])), stack.initial_state(2), last=True)
    for key, value in stack.initial_state(2).items():
        assert_close(state[key], value, atol=0, rtol=0)


def test_a_relu_network_begins_as_the_identity_and_an_lstm_remembers():
    assert_close(build(cell="rnn_relu").layers[0].forward_cell.rnn.weight_hh_l0.data, torch.eye(3), atol=0, rtol=0)
    forget = build().layers[0].forward_cell.rnn.bias_ih_l0.data[3:6]
    assert_close(forget, torch.ones(3), atol=0, rtol=0)


def test_dropout_is_for_training_only():
    stack = build(dropout=0.5)
    x = torch.randn(1, 30, 4)
    assert_close(whole(stack, x), whole(stack, x), atol=0, rtol=0)
    stack.train()
    assert (whole(stack, x) == 0).float().mean() > 0.2


@pytest.mark.parametrize("direction", ["forward", "bidirectional", "latency_controlled"])
def test_layers_that_are_computed_anew_have_the_same_gradients_dropout_included(direction):
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        stack = RecurrentStack(5, RecurrentSettings(direction=direction, layers=3, hidden=7, dropout=0.5, chunk=4))
        stack.recompute = recompute
        x = Padded(torch.randn(3, 11, 5, requires_grad=True), torch.tensor([11, 4, 9]))
        torch.manual_seed(1)
        y, _ = stack.step(x, stack.initial_state(3), last=True)
        y.data.square().sum().backward()
        gradients.append([x.data.grad, *(p.grad for p in stack.parameters())])
    for kept, anew in zip(*gradients, strict=True):
        assert torch.equal(kept, anew)
