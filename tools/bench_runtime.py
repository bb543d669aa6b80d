"""Speed of streaming without PyTorch: an 8 M-parameter LSTM in int8, one core, pieces of 160 ms, all of it included.

Beside it, in the same run on the same audio: the same network streamed by PyTorch, the same in float32, and, where its
package is installed, pocketsphinx with the model in its wheel.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from recitative.config import FrontEndSettings, ModelSettings, RecurrentSettings, Settings
from recitative.export.model import build_model, measure_ranges
from recitative.models.folder import Recogniser, new_recogniser
from recitative.models.transcriber import Transcriber
from recitative.recognition.network import new_transcriber
from recitative.runtime.network import load_transcriber
from recitative.runtime.recognizer import Recognizer
from recitative.stage import Padded
from recitative.text.tokens import TokenTable

CHUNK_MS = 160
AUDIO_S = 60.0
TOKENS = TokenTable(("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz'"))


def bench_runtime(runs: int) -> None:
    """Print the lines of this part."""
    made = eight_million()
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(int(16000 * AUDIO_S)).astype(np.float32) * 0.05
    plain, small = (build_model(made, ranges=ranges).SerializeToString() for ranges in (None, ranges_of(made, samples)))
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    streams: dict[str, Callable[[], list[float]]] = {
        "int8": streaming(load_transcriber(small), samples),
        "float32": streaming(load_transcriber(plain), samples),
        "PyTorch": streaming(new_transcriber(made), samples),
    } | pocketsphinx(samples)
    times: dict[str, list[float]] = {name: [] for name in streams}
    totals: dict[str, list[float]] = {name: [] for name in streams}
    for run in range(runs + 1):  # in turns; the first is not counted
        for name, stream in streams.items():
            chunks = stream()
            if run:
                times[name] += chunks
                totals[name].append(sum(chunks))
    ours = statistics.median(totals["int8"])
    for name, total in totals.items():
        seconds = statistics.median(total)
        p99 = f"chunk p99 {1000 * float(np.percentile(times[name], 99)):5.2f} ms"
        ratio = "" if name == "int8" else f"{seconds / ours:7.1f} times ours"
        print(f"runtime   {name:12} real-time factor {seconds / AUDIO_S:.4f}, {CHUNK_MS} ms {p99}{ratio}", flush=True)
    print(f"runtime   start to first partial {first_partial_s(small):.2f} s, import recitative {import_s():.2f} s")


def eight_million() -> Recogniser:
    """4 x 512 LSTM on 3 stacked frames, with random weights: the arithmetic is the same."""
    torch.manual_seed(1)
    core = RecurrentSettings(direction="forward", layers=4, hidden=512)
    made = new_recogniser(Settings(model=ModelSettings(front_end=FrontEndSettings(), recurrent=core)), TOKENS)
    made.network.eval()
    return made


def ranges_of(made: Recogniser, samples: np.ndarray) -> dict[str, np.ndarray]:
    features = new_transcriber(made).extractor.compute(samples[: 16000 * 5])
    return measure_ranges(made, [Padded(torch.from_numpy(features[None]), torch.tensor([len(features)]))])


def streaming(transcriber: Transcriber, samples: np.ndarray) -> Callable[[], list[float]]:
    """A run over the audio: seconds for each chunk, with its partial result."""
    recognizer = Recognizer(transcriber)
    size = recognizer.sample_rate * CHUNK_MS // 1000

    def run() -> list[float]:
        stream = recognizer.stream()
        taken = []
        for start in range(0, len(samples), size):
            piece = samples[start : start + size]
            started = time.perf_counter()
            stream.accept(piece, recognizer.sample_rate)
            if start // size % 25 == 24:  # every four seconds an utterance ends
                stream.finish()
            else:
                stream.partial()
            taken.append(time.perf_counter() - started)
        return taken

    return run


def pocketsphinx(samples: np.ndarray) -> dict[str, Callable[[], list[float]]]:
    try:
        from pocketsphinx import Decoder
    except ImportError:
        print("note: pocketsphinx is not installed; pip install pocketsphinx to see it beside", file=sys.stderr)
        return {}
    decoder = Decoder(samprate=16000, loglevel="FATAL")
    content = (samples * 32767).astype(np.int16)
    size = 16 * CHUNK_MS

    def run() -> list[float]:
        taken = []
        decoder.start_utt()
        for start in range(0, len(content), size):
            piece = content[start : start + size].tobytes()
            started = time.perf_counter()
            decoder.process_raw(piece, False, False)
            decoder.hyp()
            taken.append(time.perf_counter() - started)
        decoder.end_utt()
        return taken

    return {"pocketsphinx": run}


def first_partial_s(content: bytes) -> float:
    """From the start of a process to its first partial result; the median of five."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(content)
        code = (
            "import numpy, recitative\n"
            f"stream = recitative.Recognizer.load({str(model)!r}).stream()\n"
            "stream.accept(numpy.zeros(2560, numpy.float32), 16000); stream.partial()"
        )
        return _seconds(code)


def import_s() -> float:
    return _seconds("import recitative")


def _seconds(code: str) -> float:
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
