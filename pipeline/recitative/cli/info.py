"""``recitative info``: what a model file is."""

from __future__ import annotations

from typing import Annotated

import typer

from recitative.cli.models import find_model


def info(
    model: Annotated[str, typer.Argument(help="Exported file, or name of a pretrained model.")],
    settings: Annotated[bool, typer.Option("--settings", help="Also print the settings of the training.")] = False,
) -> None:
    """Describe a model file: kind, size, inputs, outputs, notes.

    \b
    recitative info model.onnx --settings
    """
    from recitative.config import dump_settings
    from recitative.kinds import read_metadata

    path = find_model(model)
    metadata = read_metadata(path)
    core = metadata.settings.model.recurrent
    weights = f"{metadata.weights}, ".removeprefix(", ")
    rows = {
        "file": f"{path}, {path.stat().st_size / 1e6:.1f} MB, {weights}{metadata.parameters / 1e6:.2f} M parameters",
        "core": f"{core.cell}, {core.direction}, {core.layers} x {core.hidden}",
    }
    for name, value in (rows | metadata.kind.describe(metadata)).items():
        print(f"{name:<8} {value}")
    if metadata.notes:
        print(f"\n{metadata.notes.rstrip()}")
    if settings:
        print(f"\n{dump_settings(metadata.settings)}", end="")
