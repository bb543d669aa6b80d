"""The training benchmark on two seconds of noise, and the arithmetic behind its figures."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

from recitative.errors import DataError, UsageError
from small_corpus import TEXTS, make_corpus

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "recipes" / "an4" / "conf" / "blstm.yaml"


@pytest.fixture(autouse=True)
def tools_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def tool(name: str) -> ModuleType:
    return importlib.import_module(name)


def bench(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(tool("bench_material"), "PRODUCT_SIZE", 64)
    if importlib.util.find_spec("speechbrain"):
        monkeypatch.setattr(tool("bench_train_speechbrain"), "CHANNELS", (4, 8))
    tiny = ("--batch-s", "1", "--threads", "1", "--workers", "0", "--arithmetic", "float32")
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, (*arguments, *tiny))])
    with pytest.raises(SystemExit) as ended:
        tool("bench").run(tool("bench").app)
    return int(ended.value.code or 0)


def test_ours_and_the_peers_train_on_the_same_audio_and_stand_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_corpus(tmp_path)
    assert bench(monkeypatch, "train", "--data", data, "--runs", 1, "--parameters", 4e5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "0.0 minutes: 4 utterances of 0.5 to 0.5 s, decoded before; 1 s in a batch" in lines[1]
    rows = {line[10:44].strip(): line[44:].split() for line in lines[4:]}
    theirs = {"deepspeech.pytorch"} | ({"SpeechBrain CRDNN"} if importlib.util.find_spec("speechbrain") else set())
    assert set(rows) == {"recitative blstm", "recitative blstm, augmented"} | theirs
    for name, figures in rows.items():
        parameters, unit, speed, waiting, padding, steps_a_second, *_ = figures
        assert (float(parameters), unit) == (pytest.approx(0.4, rel=0.03), "M"), name
        assert float(speed) > 0, name
        assert float(steps_a_second) > 0, name
        assert waiting.endswith("%"), name
        if "augmented" not in name:  # whose speeds differ; all other utterances are of one length
            assert padding == "0.0%", name


def test_the_profile_names_stages_of_preparation_and_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_corpus(tmp_path)
    size = ("--parameters", 2e5, "--steps", 1)
    monkeypatch.setattr(tool("bench_train"), "SKIPPED_STEPS", 1)
    assert bench(monkeypatch, "profile", "--data", data, *size) == 0
    out = capsys.readouterr().out
    for stage in ("decode", "speed, noise, volume", "features", "vocal tract length", "SpecAugment", "padding"):
        assert f"profile     {stage} " in out
    assert "blstm, 1 threads: a step takes" in out
    assert "_rnn_layer_backward" in out


def test_audio_that_fits_into_one_batch_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_corpus(tmp_path)
    assert bench(monkeypatch, "train", "--data", data, "--parameters", 4e5, "--minutes", 0.01) == 2
    assert "all audio fits into one batch; use more --minutes or a smaller --batch-s" in capsys.readouterr().err


def test_utterances_are_drawn_until_there_is_enough_and_always_the_same_ones(tmp_path: Path) -> None:
    draw = tool("bench_material").draw
    data = make_corpus(tmp_path)
    some = draw(data, 0.9 / 60, 16000, cache=True)
    assert len(some.utterances) == 2
    assert some.audio_s == pytest.approx(1.0)
    assert draw(data, 0.9 / 60, 16000, cache=True).utterances == some.utterances
    everything = draw(data, 1.0, 16000, cache=False)
    assert {u.utt_id for u in everything.utterances} == set(TEXTS)
    np.testing.assert_array_equal(everything.samples(0), some.samples(0))
    assert everything.tokens.decode(everything.labels(0)) == everything.utterances[0].text
    assert everything.rows(1.2) == 2


def test_audio_without_text_is_named(tmp_path: Path) -> None:
    data = make_corpus(tmp_path)
    (data / "text").unlink()
    with pytest.raises(DataError, match=r"has no text; a transcript"):
        tool("bench_material").draw(data, 1.0, 16000, cache=False)


def test_the_first_step_of_a_turn_is_not_counted() -> None:
    turn_of, step = tool("bench_material").Turn.of, tool("bench_material").Step
    turn = turn_of([step(10.0, 50.0, 40.0, 0.9), step(6.0, 2.0, 0.5, 0.0), step(3.0, 1.0, 0.1, 0.5)], flops=38.0)
    assert (turn.steps, turn.audio_s, turn.seconds) == (2, 9.0, 3.0)
    assert turn.speed == pytest.approx(3.0)
    assert turn.waiting == pytest.approx(0.2)
    assert turn.padding == pytest.approx(3 / 12)  # 6 s and 3 s of audio in 6 s and 6 s of frames
    assert turn.flops_per_audio_s == pytest.approx(2.0)


def test_waiting_and_working_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = tool("bench_material")
    now = iter([0.0, 1.0, 3.0, 3.0, 3.5, 8.0, 8.0])
    monkeypatch.setattr(turn.time, "perf_counter", lambda: next(now))
    first, second = turn.timed_steps([4.0, 5.0], lambda batch: None, lambda batch: (batch, 0.1))
    assert (first.wait_s, first.seconds, first.audio_s) == (1.0, 3.0, 4.0)
    assert (second.wait_s, second.seconds, second.padding) == (0.5, 5.0, 0.1)


@pytest.mark.parametrize(
    ("network", "x"),
    [
        (nn.Linear(5, 7), torch.randn(3, 4, 5)),
        (nn.Conv1d(3, 8, 5, stride=2), torch.randn(2, 3, 20)),
        (nn.Conv2d(4, 6, (3, 5), padding=1), torch.randn(2, 4, 9, 11)),
    ],
)
def test_a_layer_is_counted_as_pytorch_counts_it(network: nn.Module, x: torch.Tensor) -> None:
    with tool("bench_material").FlopCount() as count, FlopCounterMode(display=False) as oracle:
        network(x.requires_grad_()).sum().backward()
    assert count.flops == oracle.get_total_flops()


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_layer_is_counted_gate_by_gate(cell: type[nn.RNNBase], gates: int) -> None:
    n, t, width, hidden = 2, 9, 5, 6
    network = cell(width, hidden, num_layers=2, bidirectional=True, batch_first=True)
    first, second = width + hidden, 2 * hidden + hidden
    expected = 3 * 2 * 2 * gates * hidden * (first + second)  # thrice, two each, two directions
    with tool("bench_material").FlopCount() as count:
        network(torch.randn(n, t, width))
    assert count.flops == n * t * expected
    packed = pack_padded_sequence(torch.randn(n, t, width), torch.tensor([9, 4]), batch_first=True)
    with tool("bench_material").FlopCount() as count:
        network(packed)
    assert count.flops == 13 * expected


def test_what_is_not_trained_is_not_counted() -> None:
    with tool("bench_material").FlopCount() as count:
        nn.Linear(5, 7).eval()(torch.randn(3, 5))
    nn.Linear(5, 7)(torch.randn(3, 5))
    assert count.flops == 0


def test_the_hidden_size_comes_closest_to_the_wanted_parameters() -> None:
    def square(hidden: int) -> int:
        return 10 * hidden * hidden

    nearest = min(range(1, 200), key=lambda hidden: abs(square(hidden) - 54321))
    assert tool("bench_material").hidden_for(square, 54321) == nearest
    with pytest.raises(UsageError, match=r"--parameters 15: the nearest network has 10; use a value close to it"):
        tool("bench_material").hidden_for(square, 15)


def test_the_spectrogram_is_that_of_a_slow_fourier_transform() -> None:
    samples = np.random.default_rng(0).standard_normal(800).astype(np.float32)
    found = tool("bench_train_peers").spectrogram(samples, 16000)
    assert found.shape == (161, 6)
    padded = np.pad(samples.astype(np.float64), 160)
    n = np.arange(320)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * n / 320)
    expected = np.empty((161, 6))
    for frame in range(6):
        for k in range(161):
            wave = np.exp(-2j * np.pi * k * n / 320)
            expected[k, frame] = np.log1p(abs(np.sum(padded[frame * 160 : frame * 160 + 320] * window * wave)))
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(found, expected, atol=1e-4)  # float32 sums of 320


def test_deep_speech_halves_the_frames_and_hears_no_padding() -> None:
    torch.manual_seed(0)
    network = tool("bench_train_peers").DeepSpeech(161, 8, 5).eval()
    x = torch.randn(2, 1, 161, 31)
    short = x[1:, ..., :20]
    y, lengths = network(torch.where(torch.arange(31) < torch.tensor([31, 20])[:, None, None, None], x, 0.0),
                         torch.tensor([31, 20]))  # fmt: skip
    alone, alone_lengths = network(short, torch.tensor([20]))
    assert lengths.tolist() == [16, 10]
    assert alone_lengths.tolist() == [10]
    torch.testing.assert_close(y[1, :10], alone[0], rtol=1e-4, atol=1e-5)
