"""``recitative``: every verb of the command line, older names of verbs, and ``doctor``, which checks the machine."""

from __future__ import annotations

import json
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path
from time import perf_counter, process_time
from typing import Annotated, Any, Literal

import numpy as np
import typer

from recitative import __version__, pretrained
from recitative.anomaly.detector import FORECASTER
from recitative.asr.kind import G2P
from recitative.audio.files import Samples
from recitative.classification.classifier import CLASSIFIER
from recitative.cli import evaluate
from recitative.cli.classify import anomaly, classify, detect, threshold
from recitative.cli.data import app as data
from recitative.cli.data import check, cmvn, features, folds, hold_out, shards
from recitative.cli.evaluate import explore, export, info, models, report, score
from recitative.cli.generate import app as generate
from recitative.cli.keywords import app as keywords
from recitative.cli.keywords import spot
from recitative.cli.language import add_words, g2p, lexicon, lm, tokens
from recitative.cli.live import listen, serve
from recitative.cli.music import app as music
from recitative.cli.music import check_constraints, melody
from recitative.cli.recognize import align, average, decode, rescore, transcribe, tune
from recitative.cli.sound import vocode
from recitative.cli.start import INSTALL_TORCH, installed_version, new_app, run, unwrap_help
from recitative.cli.train import QuietOption, adapt, find_batch_size, init_config, train, train_kind
from recitative.errors import RecitativeError, counted
from recitative.kinds import MUSIC_KINDS, SOUND_KINDS
from recitative.lm.recurrent import LANGUAGE_MODEL
from recitative.model.kind import ModelKind
from recitative.score.results import describe_machine
from recitative.text.tokens import TextUnit

Status = Literal["ok", "note", "error"]
EXTRAS = {
    "train": "training and export",
    "mic": "microphone",
    "media": "m4a, mp4, webm, wma",
    "serve": "server",
    "music": "melodies from recordings",
    "datasets": "Parquet and Arrow files",
    "cluster": "parallel work on several machines",
}
PYTHONS = ((3, 11), (3, 14))
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm")
LOW_MEMORY_GIB, LOW_DISK_GIB = 1.0, 1.0
MEASURED_S = 10.0


@dataclass(frozen=True)
class Finding:
    """One line. remedy: for the user; empty if there is nothing to do."""

    status: Status
    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.status:<5}  {self.what:<10}  {self.found}{'; ' if self.remedy else ''}{self.remedy}"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure the speed of recognition.")] = True,
) -> None:
    """Check this installation and this machine: versions, optional parts, sound devices, memory, speed.

    Each line says ok, note (something optional is missing) or error. The exit status is 1 if there is an error.

    \b
    recitative doctor
    recitative doctor --json --no-speed
    """
    findings = []
    for finding in examine(speed):
        findings.append(finding)
        if not as_json:
            print(finding, flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    if any(finding.status == "error" for finding in findings):
        raise typer.Exit(1)


def examine(speed: bool = True) -> Iterator[Finding]:
    yield Finding("ok", "recitative", f"{__version__}, {Path(__file__).parents[1]}")
    yield _python()
    yield from _packages()
    yield _torch()
    yield Finding(
        "ok", "processor", f"{describe_machine()}; {', '.join(_cpu_features()) or 'no vector extensions known'}"
    )
    yield _space("memory", _available_memory_gib(), LOW_MEMORY_GIB, "available", "close other programs")
    free = shutil.disk_usage(tempfile.gettempdir()).free / 2**30
    yield _space("disk", free, LOW_DISK_GIB, f"free in {tempfile.gettempdir()}", "free some, or set TMPDIR")
    yield _microphone()
    if speed:
        yield _speed()


def _python() -> Finding:
    found, (lowest, highest) = platform.python_version(), PYTHONS
    allowed = f"{lowest[0]}.{lowest[1]} to {highest[0]}.{highest[1]}"
    if lowest <= sys.version_info[:2] <= highest:
        return Finding("ok", "python", f"{found}, {platform.system()} {platform.machine()}")
    return Finding("note", "python", f"{found} is not tested", f"use {allowed}")


def _packages() -> Iterator[Finding]:
    """One line for the runtime, one for each optional part."""
    groups: dict[str, list[str]] = {}
    for requirement in requires("recitative") or []:
        name = re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0]
        condition = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        groups.setdefault(condition[1] if condition else "", []).append(name)
    missing = [name for name in groups.pop("", []) if not installed_version(name)]
    if missing:
        yield Finding("error", "runtime", f"lacks {', '.join(missing)}", "run 'pip install .' again")
    else:
        yield Finding(
            "ok", "runtime", f"onnxruntime {installed_version('onnxruntime')}, numpy {installed_version('numpy')}"
        )
    for extra, purpose in EXTRAS.items():
        names = [name for name in groups.get(extra, []) if name != "recitative"]
        missing = [name for name in names if not installed_version(name)]
        if missing:
            found = f"not installed ({purpose}): {', '.join(missing)}"
            yield Finding("note", extra, found, f"pip install 'recitative[{extra}]'")
        else:
            yield Finding("ok", extra, ", ".join(f"{name} {installed_version(name)}" for name in names))


def _torch() -> Finding:
    """Whether torch and torchaudio load together, and on what they compute."""
    if not installed_version("torch"):
        return Finding(
            "note", "torch", "not installed: models run, but cannot be trained", "pip install 'recitative[train]'"
        )
    try:
        torch = import_module("torch")
        import_module("torchaudio")
    except (ImportError, OSError) as error:
        versions = (installed_version("torch"), installed_version("torchaudio") or "(missing)")
        found = "torch {} and torchaudio {} do not load: {}".format(*versions, error)
        return Finding("error", "torch", " ".join(found.split()), INSTALL_TORCH)
    if torch.cuda.is_available():
        return Finding("ok", "torch", f"{torch.__version__} on {torch.cuda.get_device_name()}")
    return Finding("ok", "torch", f"{torch.__version__} on the CPU; no GPU was found")


def _cpu_features() -> list[str]:
    try:
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text(encoding="utf-8")))
    except OSError:
        return []
    return [feature for feature in FEATURES if feature in flags]


def _available_memory_gib() -> float:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return int(found[1]) / 2**20 if found else float("nan")


def _space(what: str, gib: float, low: float, where: str, remedy: str) -> Finding:
    if gib < low:
        return Finding("note", what, f"only {gib:.1f} GiB {where}", remedy)
    return Finding("ok", what, f"{gib:.1f} GiB {where}")


def _microphone() -> Finding:
    from recitative.audio.live import list_devices

    try:
        devices = list_devices()
    except RecitativeError as error:
        return Finding("note", "microphone", str(error))
    if not devices:
        return Finding("note", "microphone", "none was found", "connect one; files, pipes and the server work without")
    names = ", ".join(device.name for device in devices)
    return Finding("ok", "microphone", f"{counted(len(devices), 'input')}: {names}")


def _speed() -> Finding:
    """The cost of the default recognizer on sound like speech, which keeps its search busy."""
    from recitative.asr.recognizer import Recognizer

    name = pretrained.STREAMING
    began = perf_counter()
    try:
        recognizer = Recognizer.load(name)
    except RecitativeError as error:
        return Finding("error", "speed", str(error), "install the package again")
    opening_s = perf_counter() - began
    began = process_time()
    recognizer.transcribe(_vowels(recognizer.sample_rate), recognizer.sample_rate)
    share = (process_time() - began) / MEASURED_S
    found = f"'{name}' opens in {opening_s:.1f} s and needs {share:.3f} s of one core per second of speech"
    return Finding("ok", "speed", found) if share < 0.5 else Finding("note", "speed", found, "too slow for live use")


def _vowels(rate: int) -> Samples:
    """Harmonics of a moving pitch below three moving formants, in syllables: (S,) in [-1, 1]."""
    time = np.arange(int(MEASURED_S * rate)) / rate
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = (500 + 300 * np.sin(13 * time), 1500 + 700 * np.sin(11 * time), np.full_like(time, 2600))
    wave = np.zeros_like(time)
    for harmonic in range(1, 30):
        level = sum(np.exp(-(((harmonic * pitch - formant) / 150) ** 2)) for formant in formants)
        wave += level * np.sin(harmonic * phase)
    wave *= np.sin(2 * np.pi * 4 * time) > -0.6
    samples: Samples = (0.2 * wave / np.abs(wave).max()).astype(np.float32)
    return samples


Verb = Callable[..., None]
app = new_app()
PANELS: dict[str, tuple[Verb | typer.Typer, ...]] = {
    "Use": (transcribe, listen, classify, detect, models, info, add_words, doctor, keywords),
    "Train": (init_config, find_batch_size, train, average, adapt, lm, g2p),
    "Evaluate": (decode, tune, rescore, align, score, report, explore, export, anomaly),
    "Data": (check, tokens, lexicon, features, cmvn, shards, data),
    "Music and sound": (melody, vocode, generate, music),
    "Serve": (serve,),
}
for panel, verbs in PANELS.items():
    for verb in verbs:
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(verb)


def main() -> None:
    """Run the command line."""
    run(app)


# Verbs of release 0.1 under their old names, hidden in the help. They will be removed in 0.3.


def _train_only(kinds: Sequence[ModelKind]) -> Verb:
    @wraps(train)
    def verb(output: Path, arguments: list[str] | None, conf: Path | None, quiet: bool, **options: Any) -> None:
        train_kind(kinds, output, arguments, conf, quiet, options)

    return verb


def _export_older(
    model: Annotated[Path, typer.Argument(metavar="MODEL")],
    output: Annotated[Path, typer.Option()],
    int8: Annotated[bool, typer.Option("--int8")] = False,
    notes: evaluate.NotesOption = None,
) -> None:
    export(model, output, weights="int8" if int8 else "auto", notes=notes)


def train_recurrent(
    inputs: Annotated[list[str], typer.Argument(metavar="TEXT... [SECTION.KEY=VALUE...]")],
    dev: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    unit: Annotated[TextUnit | None, typer.Option()] = None,
    conf: Annotated[Path | None, typer.Option()] = None,
    quiet: QuietOption = False,
) -> None:
    overrides = [text for text in inputs if "=" in text and not Path(text).exists()]
    texts = [Path(text) for text in inputs if text not in overrides]
    overrides += [f"text.unit={unit}"] if unit else []
    train_kind([LANGUAGE_MODEL], output, overrides, conf, quiet, {"train": texts, "dev": dev})


def _train_g2p(
    dictionary: Annotated[Path, typer.Argument()],
    output: Annotated[Path, typer.Option()],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE...]")] = None,
    conf: Annotated[Path | None, typer.Option()] = None,
    lower: Annotated[bool, typer.Option("--lower")] = False,
    keep_stress: Annotated[bool, typer.Option("--keep-stress")] = False,
    quiet: QuietOption = False,
) -> None:
    options = {"train": [dictionary], "lower": lower, "keep_stress": keep_stress}
    train_kind([G2P], output, settings, conf, quiet, options)


OLD_VERBS: dict[str, Verb] = {
    "suggest": init_config,
    "tune-batch": find_batch_size,
    "spot": spot,
    "watch": detect,
    "data hold-out": hold_out,
    "lm export": _export_older,
    "lm train-recurrent": train_recurrent,
    "g2p train": _train_g2p,
    "classifier train": _train_only([CLASSIFIER]),
    "classifier score": score,
    "classifier report": report,
    "classifier folds": folds,
    "forecaster train": _train_only([FORECASTER]),
    "forecaster threshold": threshold,
    "forecaster score": score,
    "forecaster export": _export_older,
    "music kept": check_constraints,
    "music train": _train_only(MUSIC_KINDS),
    "music score": score,
    "music report": report,
    "music export": _export_older,
    "sound train": _train_only(SOUND_KINDS),
    "sound score": score,
    "sound export": _export_older,
}
_groups = {"data": data, "g2p": g2p, "lm": lm, "music": music}
for words, verb in OLD_VERBS.items():
    group, _, name = words.rpartition(" ")
    if group and group not in _groups:
        _groups[group] = typer.Typer()
        app.add_typer(_groups[group], name=group, hidden=True)
    (_groups[group] if group else app).command(name, hidden=True)(verb)

unwrap_help(app)
