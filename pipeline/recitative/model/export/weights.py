"""The weights of an exported file, put back into a network: the inverse of ``cells`` and ``stages``.

A file in int8 gives back the numbers that it computes with, so that training can go on from a model that ships, and an
export of what comes out loses no more than the first did.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from recitative.atomic import recover_folder
from recitative.errors import DataError
from recitative.model.export.cells import OPERATORS, SENTINELS
from recitative.model.folder import load_model
from recitative.model.kind import RECOGNIZER_NAME, ModelKind
from recitative.model.onnx_stage import open_model, read_content
from recitative.nn.normalize import Normalize, PlaneNorm
from recitative.nn.stages import Chain
from recitative.nn.window import CausalConv, RowConv
from recitative.stage import Array

Constants = Mapping[str, Array]  # of a graph, by name


def open_for_training(path: Path, kind: ModelKind) -> Any:
    """The model in a folder or an exported file, as training can go on from it.

    kind: recognizers or classifiers. An exported file has no attention decoder. The model is in evaluation mode.
    Raises DataError for another kind, a damaged file, or one exported by release 0.1.
    """
    recover_folder(path)
    if path.is_dir():
        return load_model(path, kind)
    content = read_content(path, str(path), "model file")
    _, metadata = open_model(content, [kind])
    settings = metadata.settings
    if kind.name == RECOGNIZER_NAME:
        model_settings = settings.model.model_copy(update={"attention": type(settings.model.attention)()})
        settings = settings.model_copy(update={"model": model_settings})
    model = kind.new(settings, metadata.extras)
    graph = onnx.load_model_from_string(content).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    network = getattr(model, kind.weights)
    try:
        read_weights(network, constants)
    except (KeyError, ValueError):
        remedy = f"give the folder it was exported from, or make one with '{kind.export}'"
        raise DataError(str(path), "holds no weights that can be trained", "a file of this version", remedy) from None
    network.eval()
    return model


@torch.no_grad()
def read_weights(network: Chain, constants: Constants) -> None:
    """Set all weights of a network that ``export.network.write_step`` can write, in place.

    Raises KeyError if constants are missing, as in files of before they had names, and ValueError if the shapes differ.
    """
    for path, module in network.named_modules():
        name = path.removeprefix("stages.")
        match module:
            case nn.Linear():
                _copy(module.weight, _linear(name, constants))
                _copy(module.bias, constants[f"{name}.bias"])
            case nn.LayerNorm():
                _copy(module.weight, constants[f"{name}.weight"])
                _copy(module.bias, constants[f"{name}.bias"])
            case Normalize():
                _copy(module.mean, constants[f"{name}.mean"])
                _copy(module.inverse_stddev, constants[f"{name}.inverse_stddev"])
            case CausalConv():
                _copy(module.conv.weight, constants[f"{name}.conv.weight"])
                _copy(module.conv.bias, constants[f"{name}.conv.bias"])
            case PlaneNorm():  # the written kernel includes it
                module.variance.fill_(1.0 - module.eps)
            case RowConv():
                _copy(module.weight, constants[f"{name}.weight"].reshape(module.weight.shape))
            case _ if name.endswith("_cell.rnn"):
                _read_cell(name.removesuffix(".rnn"), module, constants)


def _linear(name: str, constants: Constants) -> Array:
    """(R, C)."""
    if f"{name}.levels" not in constants:
        return constants[f"{name}.weight"].T
    scales = constants[f"{name}.scales"] / constants[f"{name}.input_scale"]
    weight: Array = constants[f"{name}.levels"].T * scales[:, None] * constants[f"{name}.smoothing"]
    return weight


def _read_cell(name: str, rnn: Any, constants: Constants) -> None:
    kind = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}.get(rnn.mode, rnn.mode.lower())
    order = np.argsort(OPERATORS[kind][2])  # from ONNX's order of gates to PyTorch's
    gates, hidden = len(order), rnn.hidden_size
    if f"{name}.input_levels" in constants:
        inputs = _int8_gates(f"{name}.input", gates, constants)[:, :hidden, : rnn.input_size]
        inputs = inputs * constants[f"{name}.smoothing"]
        recurrent = _int8_gates(f"{name}.recurrent", gates, constants)[:, :hidden, :hidden]
        bias = constants[f"{name}.bias"].reshape(2, gates, hidden + len(SENTINELS))[..., :hidden]
    else:
        inputs, recurrent = (
            constants[f"{name}.{part}"].reshape(gates, hidden, width)
            for part, width in (("input", rnn.input_size), ("recurrent", hidden))
        )
        bias = constants[f"{name}.bias"].reshape(2, gates, hidden)
    values: dict[str, Any] = {
        "weight_ih_l0": inputs,
        "weight_hh_l0": recurrent,
        "bias_ih_l0": bias[0],
        "bias_hh_l0": bias[1],
    }
    for parameter, value in values.items():
        _copy(rnn.get_parameter(parameter), value[order].reshape(gates * hidden, *value.shape[2:]))


def _int8_gates(name: str, gates: int, constants: Constants) -> Array:
    """(G, H + 2, C + 2), of a cell with sentinels."""
    weight: Array = constants[f"{name}_levels"][0].T * constants[f"{name}_scales"][0][:, None]
    gated: Array = weight.reshape(gates, -1, weight.shape[-1])
    return gated


def _copy(target: Tensor | None, value: Array) -> None:
    assert target is not None, "the layer was made with a bias"
    if target.shape != value.shape:
        raise ValueError(f"{value.shape} where the network has {tuple(target.shape)}")
    target.copy_(torch.from_numpy(np.array(value, dtype=np.float32)))
