"""The machine a run runs on, and signals of this process."""

from __future__ import annotations

import faulthandler
import os
import platform
import sys
from pathlib import Path


def available_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> str:
    """CPU and the number of cores this process may use: ``Intel Xeon Platinum 8481C, 2 cores``."""
    cores = available_cores()
    return f"{_cpu_name()}, {cores} core{'s' if cores > 1 else ''}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return " ".join(name.split("@")[0].replace("(R)", "").replace("(TM)", "").replace(" CPU", "").split())


def handle_on_own_stack() -> None:
    """Handle signals of this thread on a separate stack; a crash of native code also prints the Python traceback.

    Matrix kernels of oneDNN, at least in PyTorch 2.11, use the stack pointer to walk through heap memory. The frame of
    a signal that arrives meanwhile, such as Ctrl-C or the end of a worker process, is written there (12 KB with AMX):
    "corrupted size vs. prev_size" some steps later (oneDNN's issue 4845). Python's handlers request the alternate stack
    (SA_ONSTACK), and faulthandler provides one that is large enough.
    """
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
