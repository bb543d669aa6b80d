"""A streaming recognizer as a model of sherpa-onnx, through its loader of WeNet's CTC models, the nearest to ours.

The loader (sherpa-onnx 2.0: online-wenet-ctc-model.cc) passes a chunk of features and two caches of fixed size, zero at
the start. Our whole state is packed into ``conv_cache``, as the difference from its initial values; the attention's
inputs are not used. Chunks do not overlap: the network keeps the frames that it still needs.

sherpa-onnx decodes greedily: models of phones give phones, since it knows no lexicon here. Its mel filters end at 7600
Hz, which this loader cannot change; ours end there with features.high_freq_hz=7600, else at half of the sample rate.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recitative.atomic import write_bytes, write_text
from recitative.errors import DataError
from recitative.model.file import ModelMetadata

FILES = ("model.onnx", "tokens.txt")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what sherpa-onnx prints as a space


def export_sherpa(content: bytes, metadata: ModelMetadata, folder: Path) -> None:
    """Write ``model.onnx`` and ``tokens.txt``. content: of an exported recognizer

    Raises DataError for a model that does not stream, or with other features than fbank.
    """
    if metadata.lookahead is None:
        allowed = "one whose core is forward"
        raise DataError(metadata.where, "does not stream", allowed, "train one with model.recurrent.direction=forward")
    if (features := metadata.settings.features).kind != "fbank" or features.delta_order:
        raise DataError(metadata.where, f"has {features.kind} features or deltas", "fbank", "train one with fbank")
    tokens = metadata.extras["tokens"].symbols
    written = _wrapped(onnx.load_from_string(content), metadata, len(tokens)).SerializeToString()
    write_bytes(folder / FILES[0], written)
    names = ["<blk>", *(SPACE if token == " " else token for token in tokens[1:])]
    write_text(folder / FILES[1], "".join(f"{name} {number}\n" for number, name in enumerate(names)))


def _wrapped(model: onnx.ModelProto, metadata: ModelMetadata, vocabulary: int) -> onnx.ModelProto:
    constants = list(model.graph.initializer)

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    start = {name: initial.array(1).reshape(1, -1).astype(np.float32) for name, initial in metadata.state.items()}
    total, node = sum(values.size for values in start.values()), helper.make_node
    before = [
        node("Identity", ["chunk"], ["features"]),
        node("Shape", ["chunk"], ["sherpa.shape"]),
        node("Gather", ["sherpa.shape", constant("sherpa.time", np.array([1]))], ["lengths"]),
        node("Reshape", ["conv_cache", constant("sherpa.row", np.array([1, total]))], ["sherpa.state"]),
        node("Split", ["sherpa.state", constant("sherpa.sizes", np.array([values.size for values in start.values()]))],
             [f"sherpa.{name}.change" for name in start], axis=1),
    ]  # fmt: skip
    after = []
    for name, values in start.items():
        initial = metadata.state[name]
        first, shape = constant(f"sherpa.{name}.first", values), np.array([1, *initial.shape], np.int64)
        kind = TensorProto.INT64 if initial.dtype == "int64" else TensorProto.FLOAT
        before += [
            node("Add", [f"sherpa.{name}.change", first], [f"sherpa.{name}.flat"]),
            node("Reshape", [f"sherpa.{name}.flat", constant(f"sherpa.{name}.shape", shape)], [f"sherpa.{name}"]),
            node("Cast", [f"sherpa.{name}"], [f"state.{name}"], to=kind),
        ]
        after += [
            node("Cast", [f"new_state.{name}"], [f"sherpa.{name}.new"], to=TensorProto.FLOAT),
            node("Reshape", [f"sherpa.{name}.new", constant(f"sherpa.{name}.all", np.array([1, values.size]))],
                 [f"sherpa.{name}.row"]),
            node("Sub", [f"sherpa.{name}.row", first], [f"sherpa.{name}.changed"]),
        ]  # fmt: skip
    constant("last", np.array(False))
    limits = [constant("sherpa.zero", np.array([0])), "log_probs_lengths", constant("sherpa.axis", np.array([1]))]
    after += [
        node("Slice", ["log_probs", *limits], ["probs"]),  # the rows after the lengths mean nothing
        node("Concat", [f"sherpa.{name}.changed" for name in start], ["sherpa.changed"], axis=1),
        node("Reshape", ["sherpa.changed", constant("sherpa.cache", np.array([1, 1, total, 1]))], ["new_conv_cache"]),
        node("Identity", ["attn_cache"], ["new_attn_cache"]),
    ]
    value, channels = helper.make_tensor_value_info, metadata.settings.features.dim
    graph = helper.make_graph(
        [*before, *model.graph.node, *after],
        "recitative",
        [
            value("chunk", TensorProto.FLOAT, [1, "T", channels]),
            value("offset", TensorProto.INT64, [1]),
            value("required_cache_size", TensorProto.INT64, [1]),
            value("attn_cache", TensorProto.FLOAT, ["blocks", "heads", "cache", "width"]),
            value("conv_cache", TensorProto.FLOAT, [1, 1, total, 1]),
            value("attn_mask", TensorProto.BOOL, [1, 1, "M"]),
        ],
        [
            value("probs", TensorProto.FLOAT, [1, "T_out", vocabulary]),
            value("new_attn_cache", TensorProto.FLOAT, ["blocks", "heads", "cache", "width"]),
            value("new_conv_cache", TensorProto.FLOAT, [1, 1, total, 1]),
        ],
        constants,
    )
    made = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
    helper.set_model_props(made, {
        "model_type": "wenet_ctc", "head": "1", "num_blocks": "1", "output_size": str(total),
        "cnn_module_kernel": "2", "right_context": str(metadata.stride - 1),
        "subsampling_factor": str(metadata.stride), "vocab_size": str(vocabulary),
    })  # fmt: skip
    return made
