"""The options of parallel work: how many pieces at once, on this machine or on a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from recitative.data.parallel import Engine
from recitative.errors import UsageError
from recitative.machine import available_cores

JobsOption = Annotated[
    int, typer.Option("--jobs", min=0, help="Number of processes. 0: one per core of this machine or of the cluster.")
]
EngineOption = Annotated[
    Literal["local", "ray"], typer.Option("--engine", help="Run on this machine or on a running Ray cluster.")
]
AddressOption = Annotated[
    str, typer.Option("--address", help="Address of the Ray cluster. Default: RAY_ADDRESS, or this machine's cluster.")
]


def new_engine(jobs: int = 0, engine: Literal["local", "ray"] = "local", address: str = "") -> Engine:
    """Of the three options. Raises UsageError for an address without Ray."""
    if address and engine != "ray":
        raise UsageError(f"--address {address}: is for --engine ray; add it, or leave the address out")
    return Engine(engine, jobs or available_cores() if engine == "local" else jobs, address)
