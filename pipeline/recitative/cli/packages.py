"""Optional packages that are missing or do not load beside each other: one line instead of a traceback."""

from __future__ import annotations

import traceback
from importlib.metadata import PackageNotFoundError, version

SERVER_PACKAGES = ("fastapi", "uvicorn", "starlette", "websockets", "python_multipart", "wyoming", "prometheus_client")
TRAINING_PACKAGES = ("torch", "torchaudio", "tensorboard", "onnx")  # of the extra 'train'
REMEDIES = {
    **dict.fromkeys(
        TRAINING_PACKAGES,
        "in a clone of recitative: pip install '.[train]'; or give a file made by 'recitative export': it runs without",
    ),
    **dict.fromkeys(SERVER_PACKAGES, "in a clone of recitative: pip install '.[serve]'"),
    **dict.fromkeys(("librosa", "numba"), "in a clone of recitative: pip install '.[music]', or pip install librosa"),
    "ray": "pip install ray, or leave out --engine ray",
}
TORCH_PAIRS = (("2.11.0", "2.11.0"), ("2.14.1", "2.11.1"))
"""Versions of torch and torchaudio that load together. torchaudio claims more: 2.11.1 fails beside torch 2.11.0."""


def explain(error: BaseException) -> str:
    """What is wrong with an optional package, and what to do; empty if the error is none of its import.

    A package that is missing is a ModuleNotFoundError. One that does not fit to what is installed beside it fails while
    it is imported: with an OSError where a shared library cannot be loaded, else with an ImportError.
    """
    if isinstance(error, ModuleNotFoundError) and error.name in REMEDIES:
        return f"this needs the package '{error.name}', which is not installed; {REMEDIES[error.name]}"
    package = _being_imported(error)
    if package in REMEDIES and isinstance(error, ImportError | OSError):
        return _misfit(package, error)
    return ""


def _being_imported(error: BaseException) -> str:
    """The optional package whose import raised the error, the outermost of several; empty if there is none."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package in REMEDIES:
            return package
    return ""


def _misfit(package: str, error: BaseException) -> str:
    reason = " ".join(str(error.__cause__ or error).split())
    if package in ("torch", "torchaudio"):
        found = f"torch {_version('torch')}, torchaudio {_version('torchaudio')}"
        pairs = " or ".join(f"torch {torch} with torchaudio {torchaudio}" for torch, torchaudio in TORCH_PAIRS)
        torch, torchaudio = TORCH_PAIRS[0]
        remedy = f"{pairs}, not builds for the CPU only; pip install torch=={torch} torchaudio=={torchaudio}"
    else:
        found, remedy = f"{package} {_version(package)}", f"pip install --force-reinstall {package}"
    return f"the package '{package}' is installed but does not load ({reason}); found {found}; {remedy}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
