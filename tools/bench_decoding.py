"""Speed of beam search, and of streaming with it.

The same log probabilities of letters, the same 3-gram and the same beam go through ours and, in the Python that --peers
names (one with pyctcdecode, kenlm and flashlight-text; pyctcdecode needs numpy < 2), through pyctcdecode and
flashlight, each with the weights and pruning below, in turns, median of the runs. The log probabilities are those of
--model on --data; without them they are made from the digits recipe's transcripts: a spike a letter, others beside it.

Streaming: the pretrained streaming model with its language model at a beam of 16, in pieces of 160 ms, one core, from
audio to text, on the speech of the digits recipe.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_runtime import AUDIO_S, CHUNK_MS, speech

from recitative.ctc.beam import BeamSearch
from recitative.ctc.prefix import SearchSpace
from recitative.data.directory import DataDirectory
from recitative.lm.arpa import read_arpa, write_arpa
from recitative.lm.estimate import estimate
from recitative.lm.ngram import NgramModel
from recitative.models.decoders import Wishes
from recitative.models.pretrained import STREAMING
from recitative.runtime.recognizer import Recognizer
from recitative.score.wer import score
from recitative.text.lexicon import Lexicon
from recitative.text.tokens import TokenTable

ROOT = Path(__file__).resolve().parent.parent
BEAMS = (16, 100)
LM_WEIGHT = 0.4
TOKEN_BEAM, SCORE_BEAM = 5.0, 10.0  # pyctcdecode's defaults
ORDER = 3


def bench_decoding(runs: int, peers: str, model: Path | None, data: Path | None, text: Path | None) -> None:
    """Print the lines of this part."""
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
        print(f"decoding  {name:24} {1000 * seconds / len(rows):7.3f} ms an utterance, WER {wer:5.2f} %{ratio}")
    bench_streaming()


def bench_streaming() -> None:
    recognizer = Recognizer.load(STREAMING, wishes=Wishes(beam=16))
    samples = speech(AUDIO_S)
    size = recognizer.sample_rate * CHUNK_MS // 1000
    seconds: list[float] = []
    stream = recognizer.stream()
    for start in range(0, len(samples), size):
        begun = time.perf_counter()
        stream.accept(samples[start : start + size], recognizer.sample_rate)
        stream.partial()
        seconds.append(time.perf_counter() - begun)
    stream.finish()
    p50, p99, most = (1000 * float(np.percentile(seconds, p)) for p in (50, 99, 100))
    factor = sum(seconds) / AUDIO_S
    cost = f"median {p50:.2f} ms, p99 {p99:.2f} ms, most {most:.2f} ms"
    print(f"streaming {STREAMING}, beam 16: {CHUNK_MS} ms chunk {cost}, real-time factor {factor:.4f}")


def of_model(model: Path, data: Path) -> tuple[TokenTable, list[np.ndarray], list[str]]:
    from recitative.models.folder import load_recogniser
    from recitative.recognition.network import new_transcriber
    from recitative.recognition.tuning import hear

    transcriber = new_transcriber(load_recogniser(model))
    heard = hear(transcriber, data)
    names = sorted(heard.refs)
    return transcriber.tokens, [heard.log_probs[n].astype(np.float32) for n in names], [heard.refs[n] for n in names]


def made_up() -> tuple[TokenTable, list[np.ndarray], list[str]]:
    """Posteriors as CTC has them: two blanks to a letter, of which some sound like others."""
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
    """Of a data directory, or of the digits recipe's manifest."""
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
        space = SearchSpace(tokens, lexicon=lexicon, lm=lm, lm_weight=LM_WEIGHT)
        search = BeamSearch(space, beam=beam, token_beam=TOKEN_BEAM, score_beam=SCORE_BEAM)
        begun = time.process_time()
        texts = [search.finish(search.step(row, search.start()))[0].text for row in rows]
        found.append((f"recitative beam {beam}", time.process_time() - begun, texts))
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
