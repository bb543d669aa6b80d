"""Benchmark of streaming without PyTorch, and of beam search.

runtime: an LSTM with 8 M parameters in int8, on one core, in chunks of 160 ms, end to end. Compared, in the same run
on the recordings of the digits recipe, with the same network in float32, the same network in PyTorch, and, if
installed (extra 'bench'), pocketsphinx with the model in its wheel.

long: a recording of three hours (repeated recordings with pauses) through the pretrained streaming model, as a file
and as a stream: whether the texts are equal, the real-time factors, and the peak memory of each process.

decoding: Recitative, and in the Python given by --peers pyctcdecode and flashlight (with kenlm; pyctcdecode needs
numpy < 2), decode the same log probabilities of letters with the same 3-gram, beam, weights and pruning. Runs
alternate; the figures are medians. The log probabilities are those of --model on --data; the default is artificial
ones for the transcripts of the digits recipe. Then the pretrained streaming model with its language model and a beam
of 16, in chunks of 160 ms, on one core, from audio to text, on the recordings of the digits recipe.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import torch
import typer
from bench_models import Runs

from recitative.asr.decoding import DecodingOptions
from recitative.asr.network import RecognizerModel, new_recognizer, new_transcriber
from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import Transcriber, load_transcriber
from recitative.config import FrontEndSettings, ModelSettings, RecurrentSettings, Settings
from recitative.data.directory import DataDirectory
from recitative.decoding.beam import BeamSearch
from recitative.lm.arpa import read_arpa, write_arpa
from recitative.lm.estimate import estimate
from recitative.lm.ngram import NgramModel
from recitative.model.export import build_file, measure_inputs
from recitative.model.graph import Inputs
from recitative.pretrained import STREAMING
from recitative.score.wer import score
from recitative.stage import Padded
from recitative.text.tokens import Lexicon, TokenTable

DIGITS = Path(__file__).resolve().parent.parent / "recipes" / "digits" / "corpus" / "audio"
CHUNK_MS = 160
AUDIO_S = 60.0
TOKENS = TokenTable(("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz'"))


def bench_runtime(runs: Runs = 3) -> None:
    """Measure streaming without PyTorch, compared with PyTorch and pocketsphinx."""
    made = eight_million()
    samples = speech(AUDIO_S)
    plain, small = (build_file(made, inputs=inputs).SerializeToString() for inputs in (None, inputs_of(made, samples)))
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    streams: dict[str, Callable[[], list[float]]] = {
        "int8": streaming(load_transcriber(small), samples),
        "float32": streaming(load_transcriber(plain), samples),
        "PyTorch": streaming(new_transcriber(made), samples),
    } | pocketsphinx(samples)
    times: dict[str, list[float]] = {name: [] for name in streams}
    totals: dict[str, list[float]] = {name: [] for name in streams}
    for run in range(runs + 1):  # alternating; the first run is a warm-up
        for name, stream in streams.items():
            chunks = stream()
            if run:
                times[name] += chunks
                totals[name].append(sum(chunks))
    ours = statistics.median(totals["int8"])
    for name, total in totals.items():
        seconds = statistics.median(total)
        p99 = f"chunk p99 {1000 * float(np.percentile(times[name], 99)):5.2f} ms"
        ratio = "" if name == "int8" else f"{seconds / ours:7.1f} times Recitative"
        print(f"runtime   {name:12} real-time factor {seconds / AUDIO_S:.4f}, {CHUNK_MS} ms {p99}{ratio}", flush=True)
    print(f"runtime   start to first partial {first_partial_s(small):.2f} s, import recitative {import_s():.2f} s")


def bench_long(hours: Annotated[float, typer.Option(help="Length of the recording.")] = 3.0) -> None:
    """Transcribe a long recording, as a file and as a stream."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "long.wav"
        some = speech(600.0)
        with soundfile.SoundFile(recording, "w", 16000, 1, subtype="PCM_16") as file:
            for start_s in np.arange(0.0, hours * 3600, 600.0):
                file.write(some[: round(16000 * (hours * 3600 - start_s))])
        whole, streamed = (transcribed(recording, *options) for options in ((), ("--streaming",)))
    for name, run in (("whole", whole), ("streamed", streamed)):
        factor = run.seconds / (3600 * hours)
        print(f"long      {hours:g} hours, {name:9} real-time factor {factor:.4f}, peak memory {run.peak_mb:.0f} MB")
    words = len(whole.text.split())
    print(f"long      the texts of {words} words are {'equal' if whole.text == streamed.text else 'DIFFERENT'}")


@dataclass(frozen=True)
class Transcribed:
    text: str
    seconds: float
    peak_mb: float


def transcribed(recording: Path, *options: str) -> Transcribed:
    """Run ``recitative transcribe`` in its own process, and read its peak memory from the system."""
    code = (
        "import re, sys\n"
        "from recitative.cli.main import main\n"
        "try: main()\n"
        "finally: print(*re.findall(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "transcribe", str(recording), "--jobs", "1", "--model", STREAMING, *options]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Transcribed(done.stdout, time.perf_counter() - started, int(done.stderr.split()[-1]) / 1000)


def speech(seconds: float) -> np.ndarray:
    """Digits by synthetic voices, with pauses of 0.1 to 1.5 s, at 16 kHz."""
    rng, parts, length = np.random.default_rng(0), [], 0
    for path in itertools.cycle(sorted(DIGITS.glob("*.ogg"))):
        samples, _ = soundfile.read(path, dtype="float32")
        parts += [samples, np.zeros(int(16000 * rng.uniform(0.1, 1.5)), np.float32)]
        length += len(parts[-2]) + len(parts[-1])
        if length >= 16000 * seconds:
            return np.concatenate(parts)[: int(16000 * seconds)]
    raise AssertionError("cycle never ends")


def eight_million() -> RecognizerModel:
    """An LSTM of 4 x 512 cells on 3 stacked frames, with random weights, which cost the same."""
    torch.manual_seed(1)
    core = RecurrentSettings(direction="forward", layers=4, hidden=512)
    made = new_recognizer(Settings(model=ModelSettings(front_end=FrontEndSettings(), recurrent=core)), TOKENS)
    made.network.eval()
    return made


def inputs_of(made: RecognizerModel, samples: np.ndarray) -> Inputs:
    features = new_transcriber(made).extractor.compute(samples[: 16000 * 5])
    return measure_inputs(made.network, [Padded(torch.from_numpy(features[None]), torch.tensor([len(features)]))])


def timed_chunks(samples: np.ndarray, size: int, accept: Callable[[np.ndarray, bool], object]) -> list[float]:
    """Stream the audio once. Returns the seconds for each chunk. accept: gets a chunk and whether an utterance ends."""
    taken = []
    for number, start in enumerate(range(0, len(samples), size)):
        started = time.perf_counter()
        accept(samples[start : start + size], number % 25 == 24)  # every four seconds
        taken.append(time.perf_counter() - started)
    return taken


def streaming(transcriber: Transcriber, samples: np.ndarray) -> Callable[[], list[float]]:
    """Seconds for each chunk, including its partial result."""
    recognizer = Recognizer(transcriber)

    def run() -> list[float]:
        stream = recognizer.stream()

        def accept(chunk: np.ndarray, ends: bool) -> None:
            stream.accept(chunk, recognizer.sample_rate)
            if ends:
                stream.finish()

        return timed_chunks(samples, recognizer.sample_rate * CHUNK_MS // 1000, accept)

    return run


def pocketsphinx(samples: np.ndarray) -> dict[str, Callable[[], list[float]]]:
    try:
        from pocketsphinx import Decoder
    except ImportError:
        print("note: pocketsphinx is not installed; pip install pocketsphinx for comparison", file=sys.stderr)
        return {}
    decoder = Decoder(samprate=16000, loglevel="FATAL")
    content = (samples * 32767).astype(np.int16)

    def accept(chunk: np.ndarray, ends: bool) -> None:
        decoder.process_raw(chunk.tobytes(), False, False)
        if ends:
            decoder.end_utt()
            decoder.start_utt()
        decoder.hyp()

    def run() -> list[float]:
        decoder.start_utt()
        taken = timed_chunks(content, 16 * CHUNK_MS, accept)
        decoder.end_utt()
        return taken

    return {"pocketsphinx": run}


def first_partial_s(content: bytes) -> float:
    """Seconds from the start of a process to its first partial result, median of five."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(content)
        code = (
            "import numpy, recitative\n"
            f"stream = recitative.Recognizer.load({str(model)!r}).stream()\n"
            "stream.accept(numpy.zeros(2560, numpy.float32), 16000)"
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


ROOT = Path(__file__).resolve().parent.parent
BEAMS = (16, 100)
LM_WEIGHT = 0.4
TOKEN_BEAM, SCORE_BEAM = 5.0, 10.0  # pyctcdecode's defaults
ORDER = 3


def bench_decoding(
    runs: Runs = 3,
    peers: Annotated[str, typer.Option(help="Path of a Python with pyctcdecode, kenlm, flashlight-text.")] = "",
    model: Annotated[Path | None, typer.Option(help="Model folder whose tokens are letters.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data directory for --model.")] = None,
    text: Annotated[
        Path | None, typer.Option(help="Data directory whose transcripts are the language model text.")
    ] = None,
) -> None:
    """Measure beam search with a language model, and streams; compared with pyctcdecode and flashlight."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tokens, rows, refs = of_model(model, data) if model and data else made_up()
    lines = training_text(text)
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "lm.arpa"
        write_arpa(arpa, estimate(lines, ORDER).table)
        words = sorted({word for line in lines for word in line.split()})
        times: dict[str, list[float]] = {}
        texts: dict[str, list[str]] = {}
        for _ in range(runs):
            for name, seconds, hyps in [
                *ours(tokens, rows, arpa, words),
                *(theirs(peers, Path(folder), tokens, rows, words) if peers else []),
            ]:
                times.setdefault(name, []).append(seconds)
                texts[name] = hyps
    for name, values in times.items():
        seconds = statistics.median(values)
        wer = 100 * score(dict(enumerate_refs(refs)), dict(enumerate_refs(texts[name]))).total.rate
        peer = times.get(f"pyctcdecode beam {name.rsplit(' ', 1)[-1]}")
        ratio = f"  pyctcdecode takes {statistics.median(peer) / seconds:5.2f} times as long" if peer else ""
        print(f"decoding  {name:24} {1000 * seconds / len(rows):7.3f} ms per utterance, WER {wer:5.2f} %{ratio}")
    bench_streaming()


def bench_streaming() -> None:
    recognizer = Recognizer.load(STREAMING, options=DecodingOptions(beam=16))
    samples = speech(AUDIO_S)
    size = recognizer.sample_rate * CHUNK_MS // 1000
    stream = recognizer.stream()
    seconds = timed_chunks(samples, size, lambda chunk, ends: stream.accept(chunk, recognizer.sample_rate))
    stream.finish()
    p50, p99, most = (1000 * float(np.percentile(seconds, p)) for p in (50, 99, 100))
    factor = sum(seconds) / AUDIO_S
    cost = f"median {p50:.2f} ms, p99 {p99:.2f} ms, maximum {most:.2f} ms"
    print(f"streaming {STREAMING}, beam 16: {CHUNK_MS} ms chunk {cost}, real-time factor {factor:.4f}")


def of_model(model: Path, data: Path) -> tuple[TokenTable, list[np.ndarray], list[str]]:
    from recitative.asr.kind import RECOGNIZER
    from recitative.asr.network import new_transcriber
    from recitative.asr.tuning import network_outputs
    from recitative.model.folder import load_model

    transcriber = new_transcriber(load_model(model, RECOGNIZER))
    heard = network_outputs(transcriber, data)
    names = sorted(heard.refs)
    return transcriber.tokens, [heard.log_probs[n].astype(np.float32) for n in names], [heard.refs[n] for n in names]


def made_up() -> tuple[TokenTable, list[np.ndarray], list[str]]:
    """Artificial CTC posteriors: two blanks per letter, some probability for similar letters."""
    rng = np.random.default_rng(0)
    tokens = TokenTable(("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz"))
    refs = [line for line in training_text(None) if line][:200]
    return tokens, [spikes(tokens.encode(ref), len(tokens), rng) for ref in refs], refs


def spikes(labels: list[int], tokens: int, rng: np.random.Generator) -> np.ndarray:
    path = [c for label in labels for c in (0, label, 0)]
    logits = rng.normal(0.0, 1.5, (len(path), tokens))
    logits[np.arange(len(path)), path] += rng.gamma(6.0, 1.5, len(path))
    logits[:, 0] += 3.0
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def training_text(text: Path | None) -> list[str]:
    """The transcripts of a data directory, or of the digits recipe."""
    if text:
        return [u.text or "" for u in DataDirectory.read(text).utterances]
    rows = (ROOT / "recipes" / "digits" / "corpus" / "manifest.tsv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split("\t").index("text")
    return [row.split("\t")[column] for row in rows[1:]]


def ours(
    tokens: TokenTable, rows: list[np.ndarray], arpa: Path, words: list[str]
) -> list[tuple[str, float, list[str]]]:
    lm = NgramModel.of(read_arpa(arpa))
    lexicon = Lexicon.of_spelling(words, tokens)
    found = []
    for beam in BEAMS:
        width = {"beam": beam, "token_beam": TOKEN_BEAM, "score_beam": SCORE_BEAM}
        search = BeamSearch(tokens, lexicon, lm=lm, lm_weight=LM_WEIGHT, **width)
        started = time.process_time()
        texts = [search.finish(search.step(row, search.start()))[0].text for row in rows]
        found.append((f"recitative beam {beam}", time.process_time() - started, texts))
    return found


def theirs(
    python: str, folder: Path, tokens: TokenTable, rows: list[np.ndarray], words: list[str]
) -> list[tuple[str, float, list[str]]]:
    np.savez(folder / "rows.npz", *rows)
    (folder / "task.json").write_text(
        json.dumps({"tokens": tokens.symbols, "words": words, "beams": BEAMS, "lm_weight": LM_WEIGHT})
    )
    script = Path(__file__).with_name("bench_decoding_peers.py")
    done = subprocess.run([python, str(script), str(folder)], check=True, capture_output=True, text=True)
    return [tuple(row) for row in json.loads(done.stdout.splitlines()[-1])]


def enumerate_refs(texts: list[str]) -> list[tuple[str, str]]:
    return [(str(i), text) for i, text in enumerate(texts)]
