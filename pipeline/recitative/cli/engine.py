"""The options of parallel work: how many pieces at once, on this machine or on a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from recitative.data.parallel import Engine
from recitative.errors import UsageError
from recitative.machine import available_cores

JobsOption = Annotated[
    int, typer.Option("--jobs", min=0, help="Processes; 0: as many as this machine, or the cluster, has cores.")
]
EngineOption = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="This machine, or a Ray cluster that runs already.")
]
AddressOption = Annotated[
    str, typer.Option("--address", help="The Ray cluster; default: RAY_ADDRESS, or the one this machine belongs to.")
]


def new_engine(jobs: int = 0, engine: Literal["local", "ray"] = "local", address: str = "") -> Engine:
    """Of the three options. Raises UsageError for an address without Ray."""
    if address and engine != "ray":
        raise UsageError(f"--address {address}: is for --engine ray; add it, or leave the address out")
    return Engine(engine, jobs or available_cores() if engine == "local" else jobs, address)
