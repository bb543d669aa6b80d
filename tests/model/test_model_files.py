"""What opens a model file: a damaged one is named in one line whatever its kind, and the home folder stays empty."""

from __future__ import annotations

import ast
import gzip
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import torch

from every_kind import make
from recitative.asr.kind import RECOGNIZER
from recitative.audio.files import write_wav
from recitative.errors import DataError
from recitative.kinds import KINDS as ALL_KINDS
from recitative.kinds import read_metadata
from recitative.model.export import build_file
from recitative.model.graph import file_content
from recitative.model.kind import CLAIM, KEY
from recitative.model.onnx_stage import OnnxStage
from recitative.pretrained import names, path_of
from recitative.stage import Padded

ROOT = Path(__file__).resolve().parents[2]


def _opened(kind, content):
    return OnnxStage(content, kind)


KINDS = {kind.name: (partial(build_file, make(kind.name)), partial(_opened, kind)) for kind in ALL_KINDS}


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    return {name: build() for name, (build, _) in KINDS.items()}


def refused(open_file, content, path):
    """The one line of the error that names the file."""
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_file(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_goes_unnoticed(models, kind, tmp_path):
    content, open_file = file_content(models[kind]), KINDS[kind][1]
    rng = np.random.default_rng(1)
    anywhere = rng.integers(0, 8 * len(content), 12)
    metadata = 8 * len(content) - rng.integers(1, 8 * 250, 12)  # the checksum is there, and what says that it is
    for bit in (*anywhere.tolist(), *metadata.tolist()):
        message = refused(open_file, flipped(content, bit), tmp_path / "m.onnx")
        assert "damaged" in message or "cannot be opened" in message
    assert "does not match its checksum" in refused(open_file, flipped(content, 800), tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_or_empty_or_of_another_kind_is_named(models, kind, tmp_path):
    content, open_file = file_content(models[kind]), KINDS[kind][1]
    for size in (0, 1, 500, len(content) // 2, len(content) - 64, len(content) - 1):
        refused(open_file, content[:size], tmp_path / "m.onnx")
    refused(open_file, gzip.compress(content)[:-9], tmp_path / "m.onnx.gz")
    refused(open_file, flipped(gzip.compress(content), 8 * 400), tmp_path / "m.onnx.gz")
    refused(open_file, b"# A page\n", tmp_path / "README.md")
    for other in KINDS.keys() - {kind}:
        refused(open_file, file_content(models[other]), tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_a_checksum_opens_unless_it_had_one(models, kind, tmp_path):
    open_file = KINDS[kind][1]
    plain = models[kind].SerializeToString()  # as versions before the checksum wrote it
    open_file(plain)
    (tmp_path / "m.onnx").write_bytes(plain)
    (tmp_path / "checked.onnx").write_bytes(file_content(models[kind]))
    assert read_metadata(tmp_path / "m.onnx") == read_metadata(tmp_path / "checked.onnx")
    lost = onnx.ModelProto()
    lost.ParseFromString(file_content(models[kind]))
    assert [entry.key for entry in lost.metadata_props][-2:] == [CLAIM, KEY]
    del lost.metadata_props[-1]
    assert "does not match its checksum" in refused(open_file, lost.SerializeToString(), tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_the_metadata_do_not_tell_of_is_refused(models, kind, tmp_path):
    open_file = KINDS[kind][1]
    for number in range(len(models[kind].graph.input)):
        changed = onnx.ModelProto()
        changed.CopyFrom(models[kind])
        changed.graph.input[number].type.tensor_type.shape.dim.add(dim_value=7)
        message = refused(open_file, changed.SerializeToString(), tmp_path / "m.onnx")
        assert "disagree about" in message or "cannot be opened" in message
    changed.CopyFrom(models[kind])
    for output in changed.graph.output:
        changed.graph.node.add(op_type="Identity", input=[output.name], output=[f"{output.name}2"])
        output.name = f"{output.name}2"
    assert "disagree about" in refused(open_file, changed.SerializeToString(), tmp_path / "m.onnx")


def test_a_recognizer_whose_metadata_are_of_another_size_is_refused():
    model = build_file(tiny.recognizer())
    metadata = OnnxStage(model.SerializeToString(), RECOGNIZER).metadata
    longer = {"tokens.txt": f"{metadata.texts['tokens.txt']}q {len(metadata.extras['tokens'])}\n"}
    for changed, name in ((replace(metadata, texts=longer), "log_probs"), (replace(metadata, stride=7), "frame rate")):
        onnx.helper.set_model_props(model, changed.to_entries())
        with pytest.raises(DataError, match=f"is damaged: .* disagree about .*{name}"):
            OnnxStage(model.SerializeToString(), RECOGNIZER)


def test_the_pretrained_models_open():
    for name in names():
        assert read_metadata(path_of(name)).parameters > 100_000


def test_what_onnx_runtime_cannot_run_is_an_error_of_the_data():
    network = OnnxStage(build_file(tiny.recognizer()).SerializeToString(), RECOGNIZER)
    with pytest.raises(DataError, match=r"the recognizer: its graph failed \(.+\); copy or export it again") as caught:
        network.step(Padded(np.zeros((1, 3, 2), np.float32), np.array([3])), network.initial_state(1), last=True)
    assert "\n" not in str(caught.value)


def test_one_module_imports_onnx_runtime():
    places = [ROOT / "pipeline", ROOT / "tests", ROOT / "tools", ROOT / "recipes"]
    importing = {
        path for place in places for path in place.rglob("*.py") if _imports_onnxruntime(path.read_text("utf-8"))
    }
    assert importing == {ROOT / "pipeline/recitative/model/onnx_stage.py"}


def _imports_onnxruntime(source):
    for node in ast.walk(ast.parse(source)) if "onnxruntime" in source else ():
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if any(name.split(".")[0] == "onnxruntime" for name in [*named, getattr(node, "module", None) or ""]):
            return True
    return False


WATCHED = """
import sys

def watch(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        print("socket:", event, arguments, file=sys.stderr)

sys.addaudithook(watch)
from recitative.__main__ import main
main()
"""


def test_nothing_is_left_in_the_home_folder_or_sent_anywhere(tmp_path):
    """ONNX Runtime would write a device id and an event there; the verb opens a model and the detector of speech."""
    home, recording = tmp_path / "home", tmp_path / "a.wav"
    home.mkdir()
    write_wav(recording, 0.1 * np.random.default_rng(0).standard_normal(5 * 16000), 16000)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONPATH")
    }
    command = [sys.executable, "-c", WATCHED, "transcribe", str(recording), "--jobs", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=kept | {"HOME": str(home)})
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
    assert "socket:" not in done.stderr
