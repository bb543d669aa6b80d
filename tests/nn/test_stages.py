"""Every stage of the model keeps the contract, gradients included."""

import pytest
import torch

from contract import verify_contract
from recitative.config import RecurrentSettings
from recitative.errors import UsageError
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import (
    CausalConv,
    Chain,
    FrameStack,
    LogProbs,
    Normalize,
    Project,
    RowConv,
    RunningMean,
    UtteranceMean,
)
from recitative.stage import Padded

WIDTH = 6


def normal(shape, generator):
    return torch.randn(*shape, WIDTH, generator=generator)


@pytest.mark.parametrize("direction", ["forward", "bidirectional", "latency_controlled"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_every_cell_in_every_direction_keeps_the_contract(cell, direction):
    torch.manual_seed(1)
    settings = RecurrentSettings(cell=cell, direction=direction, layers=2, hidden=5, chunk=7, right_context=3)
    verify_contract(RecurrentStack(WIDTH, settings).eval(), normal)


@pytest.mark.parametrize("direction", ["forward", "bidirectional", "latency_controlled"])
@pytest.mark.parametrize(
    "extra",
    [
        {"projection": 4},
        {"layer_norm": True},
        {"residual": True, "projection": WIDTH},
        {"layer_norm": True, "residual": True, "projection": WIDTH, "dropout": 0.5, "layers": 3},
    ],
    ids=["projection", "layer_norm", "residual", "all"],
)
def test_projection_normalization_and_residual_keep_the_contract(extra, direction):
    torch.manual_seed(2)
    settings = RecurrentSettings(
        **{"direction": direction, "layers": 2, "hidden": 5, "chunk": 4, "right_context": 2} | extra
    )
    verify_contract(RecurrentStack(WIDTH, settings).eval(), normal)


@pytest.mark.parametrize(("chunk", "right_context"), [(1, 0), (1, 5), (8, 0), (12, 9)])
def test_latency_control_keeps_the_contract_at_the_limits_of_its_chunk(chunk, right_context):
    torch.manual_seed(3)
    settings = RecurrentSettings(
        direction="latency_controlled", layers=2, hidden=5, chunk=chunk, right_context=right_context
    )
    verify_contract(RecurrentStack(WIDTH, settings).eval(), normal, longest=chunk + right_context + 30)


@pytest.mark.parametrize("stage", [UtteranceMean(WIDTH), RunningMean(WIDTH)], ids=["utterance", "running"])
def test_normalization_by_the_recording_keeps_the_contract(stage):
    verify_contract(stage, lambda shape, g: 3 + 2 * normal(shape, g))


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (3, 3), (5, 3), (4, 1)])
def test_frame_stacking_keeps_the_contract(window, stride):
    verify_contract(FrameStack(WIDTH, window, stride), normal)


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_causal_convolution_keeps_the_contract(stride, norm):
    torch.manual_seed(4)
    stage = CausalConv(2, 3, 4, stride, norm=norm)
    if stage.norm:
        stage.norm.mean.normal_()
        stage.norm.variance.uniform_(0.5, 2.0)
    verify_contract(stage.eval(), normal)


@pytest.mark.parametrize("context", [0, 1, 6])
def test_the_look_ahead_convolution_keeps_the_contract(context):
    torch.manual_seed(5)
    verify_contract(RowConv(WIDTH, context), normal)


def test_framewise_stages_keep_the_contract():
    torch.manual_seed(6)
    for stage in (Normalize(WIDTH), Project(WIDTH, 4), LogProbs(WIDTH, 3)):
        verify_contract(stage, normal)


def test_a_chain_of_everything_keeps_the_contract_and_adds_up_its_latency():
    torch.manual_seed(7)
    recurrent = RecurrentSettings(direction="latency_controlled", layers=2, hidden=5, chunk=3, right_context=2)
    chain = Chain(
        {
            "normalize": Normalize(WIDTH),
            "conv1": CausalConv(1, WIDTH, 2),
            "stack": FrameStack(6, 3, 2),
            "recurrent": RecurrentStack(18, recurrent),
            "ahead": RowConv(10, 2),
            "head": LogProbs(10, 4),
        }
    ).eval()
    assert chain.stride == 2 * 2
    assert chain.lookahead == 2 * 2 + (2 + 2) * 4 + 2 * 4  # stack, block, row convolution, each in input frames
    verify_contract(chain, normal, longest=70)


@pytest.mark.parametrize("direction", ["forward", "latency_controlled"])
def test_several_outputs_for_each_step_of_the_core_keep_the_contract(direction):
    torch.manual_seed(8)
    core = RecurrentStack(30, RecurrentSettings(direction=direction, layers=2, hidden=5, chunk=3, right_context=2))
    head = LogProbs(core.output_width, 4, outputs_per_step=2)
    chain = Chain({"stack": FrameStack(WIDTH, 5, 4), "core": core, "head": head}).eval()
    assert chain.stride == 2
    verify_contract(chain, normal, longest=70)
    whole, _ = chain.step(Padded(torch.randn(1, 41, WIDTH), torch.tensor([41])), chain.initial_state(1), last=True)
    assert whole.data.shape[1:] == (20, 4)  # ten windows, two outputs each
    assert whole.lengths.tolist() == [20]


def test_a_bidirectional_core_refuses_pieces_and_names_the_streaming_setting():
    stack = RecurrentStack(WIDTH, RecurrentSettings(layers=1, hidden=3))
    x = Padded(torch.zeros(1, 4, WIDTH), torch.tensor([4]))
    with pytest.raises(UsageError, match=r"model\.recurrent\.direction to 'forward' or 'latency_controlled'"):
        stack.step(x, stack.initial_state(1), last=False)


def test_the_contract_notices_a_stage_that_drops_its_state():
    class Forgetful(RowConv):
        def step(self, x, state, *, last):
            return super().step(x, self.initial_state(len(x.lengths)), last=True)

    with pytest.raises(AssertionError):
        verify_contract(Forgetful(WIDTH, 2), normal)


def test_the_contract_notices_a_stage_that_hears_more_than_it_says():
    boastful = RowConv(WIDTH, 2)
    boastful.lookahead = 1
    with pytest.raises(AssertionError, match="beyond its reach"):
        verify_contract(boastful, normal)


def test_the_contract_notices_padding_that_leaks():
    class Leaky(Normalize):
        def step(self, x, state, *, last):
            return Padded(self(x.data) - x.data.mean(1, keepdim=True), x.lengths), {}

    with pytest.raises(AssertionError):
        verify_contract(Leaky(WIDTH), normal)
