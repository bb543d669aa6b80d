"""How many threads and ranks a training has, and in which precision it computes."""

import platform
from types import SimpleNamespace

import pytest
import torch

import small_music
from recitative.errors import UsageError
from recitative.music.settings import MUSIC, MusicData
from recitative.train import run
from recitative.train.distributed import DistributedContext, has_bf16


@pytest.mark.parametrize(
    ("threads", "ranks", "loaders", "expected"), [(0, 1, 0, 6), (0, 1, 2, 4), (0, 1, 9, 1), (0, 2, 1, 2), (3, 1, 2, 3)]
)
def test_it_has_the_threads_it_asks_for_or_the_cores_that_its_loaders_leave(
    monkeypatch, threads, ranks, loaders, expected
):
    monkeypatch.setattr(run, "available_cores", lambda: 6)
    task = SimpleNamespace(loader_processes=loaders)
    settings = small_music.settings(f"train.threads={threads}").train
    assert run.num_threads(settings, task, DistributedContext(local_size=ranks)) == expected


def test_several_ranks_are_refused_for_a_kind_that_one_trains(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    data = MusicData(train=tmp_path, dev=tmp_path)
    with pytest.raises(UsageError, match=r"^a music model is trained by one worker; run it without torchrun$"):
        run.train_model(MUSIC, small_music.settings(), data, tmp_path / "exp")
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("machine", "avx512", "amx", "expected"),
    [
        ("x86_64", False, False, False),
        ("x86_64", True, False, True),
        ("AMD64", False, True, True),
        ("aarch64", False, False, True),
    ],
)
def test_bf16_is_for_processors_with_its_instructions(monkeypatch, machine, avx512, amx, expected):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert has_bf16(torch.device("cpu")) is expected
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not has_bf16(torch.device("cpu"))
