"""Benchmark of ``recitative serve``: clients that speak in real time, on two cores.

The clients run in a separate process (tools/bench_load.py), on other cores if there are more than two. They send
recordings (--data: a folder of recordings or a data directory; default: those of the digits recipe) in messages of
100 ms. Every event is compared with that of the same stream in this process, without a server.

streams   the largest number of streams at which 95 % of the partial results arrive within 300 ms and all results are
          right, by doubling and bisection; with the model's own decoding, and with --lm none --beam 1
final     from the end of speech, followed by digital silence, to the final result, with 20 streams: if the rules end
          the utterance (their silence is subtracted), and if the client ends the stream there
memory    of each of 100 streams after one second of audio, and of the server with all of them
peers     with --peers PYTHON: pocketsphinx, with one process per core that runs its streams in turn; faster-whisper
          with the model tiny.en, which cannot stream, on all audio so far, once a second

The latency of a partial result is the time from when the last sample that it needed was spoken to its arrival. The
stream without a server shows which samples it needed. 'behind' is the time since the last sample that it describes
(its 'end'): the latency, the model's look-ahead, and the steps of 160 ms in which the rules for the end of an utterance
are applied.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from bench_load import MESSAGE_S, SAMPLE_BYTES, Changes, Expected, Heard, Load, Played, compare, generate, pieces
from websockets.asyncio.client import connect

from recitative.asr.recognizer import Recognizer
from recitative.asr.stream import EndpointRules
from recitative.audio.files import expand, read_audio, resample
from recitative.audio.vad import SPEECH, VAD_RATE, WINDOW, new_detector
from recitative.cli.options import DecodingArguments, find_model, open_recognizer
from recitative.data.directory import DataDirectory
from recitative.errors import DataError
from recitative.pretrained import STREAMING
from recitative.serve.access import memory_of
from recitative.stage import Array

DIGITS = Path(__file__).resolve().parent.parent / "recipes" / "digits" / "corpus" / "audio"
CORES = 2
MAX_MS = 300.0  # for 95 % of the partial results
PROGRAMS = 16  # different ones; clients beyond this number share them
FINAL_STREAMS, IDLE_STREAMS = 20, 100
LONGEST_S = 8.0  # of a recording in a program
STAGGER_S = 2.0
PATIENCE_S = 5.0  # for the end of a stream, after its audio

Recordings = Sequence[tuple[Array, int]]  # samples (S,) float32, and their rates in Hz


@dataclass(frozen=True)
class ServeOptions:
    """Options of the benchmarks of the server. minutes, streams: 0 for the default of the benchmark"""

    model: Annotated[str, typer.Option(help="Any recognizer that streams.")] = STREAMING
    data: Annotated[
        Path | None, typer.Option(help="Folder of recordings or data directory. Default: the digits recipe's.")
    ] = None
    minutes: Annotated[
        float, typer.Option(min=0, help="About how long it may take. Default: serve 10, soak 5.", show_default=False)
    ] = 0.0
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of speech in each stream.")] = 15.0
    streams: Annotated[
        int, typer.Option(min=0, help="The most streams to try, or clients. Default: 200, 20.", show_default=False)
    ] = 0
    peers: Annotated[
        str,
        typer.Option(
            metavar="PYTHON",
            help="serve: compare pocketsphinx and faster-whisper in this Python. Where there is none, such as at "
            "build/peers/bin/python, an environment with them is made.",
        ),
    ] = ""

    def with_defaults(self, *, minutes: float, streams: int) -> ServeOptions:
        return replace(self, minutes=self.minutes or minutes, streams=self.streams or streams)


def bench_serve(options: ServeOptions) -> None:
    """Measure how many live streams the server holds at once, their latency and memory, also of other recognizers."""
    options = options.with_defaults(minutes=10.0, streams=200)
    deadline = time.monotonic() + 60 * options.minutes
    recordings = read_recordings(options.data)
    searches = 4 if options.peers else 2
    for title, decoding in (
        ("its own decoding", DecodingArguments()),
        ("--lm none --beam 1", DecodingArguments(lm="none", beam=1)),
    ):
        contest = Contest(options, recordings, decoding)
        if not decoding.beam:
            measure_memory(contest)
            measure_finals(contest)
        part = (deadline - time.monotonic()) / searches
        searches -= 1
        with contest.server() as server:
            search(f"{contest.recognizer.name}, {title}", contest.trial(server), options, part)
    if options.peers:
        from bench_serve_peers import peers

        for name, trial in peers(options, recordings):
            search(name, trial, options, (deadline - time.monotonic()) / searches)
            searches -= 1


# Recordings


def read_recordings(data: Path | None, most: int = 64) -> Recordings:
    """About ``most`` recordings spread over a folder or data directory."""
    paths: list[tuple[str, float, float | None]]
    if data and (data / "wav.scp").exists():
        paths = [(str(u.recording_path), u.start_s, u.end_s) for u in DataDirectory.read(data).utterances]
    else:
        paths = [(path, 0.0, None) for path in expand([str(data or DIGITS)])]
    some = paths[:: max(1, len(paths) // most)]
    read = [read_audio(path, start_s=start_s, end_s=end_s) for path, start_s, end_s in some]
    short = [(samples, rate) for samples, rate in read if len(samples) <= LONGEST_S * rate]
    if not short:
        raise DataError(str(data), f"has no recording of at most {LONGEST_S:g} s", "short recordings", "cut them")
    return short


def programs_of(recordings: Recordings, rate: int, count: int, seconds: float) -> list[bytes]:
    """16-bit samples of ``seconds`` each: recordings with pauses of 0.1 to 1.5 s between them."""
    rng, source, made = np.random.default_rng(0), cycle(recordings), []
    for _ in range(count):
        parts: list[Array] = []
        while sum(map(len, parts)) < seconds * rate:
            parts += [resample(*next(source), rate), np.zeros(int(rng.uniform(0.1, 1.5) * rate), np.float32)]
        made.append(as_bytes(np.concatenate(parts)[: round(seconds * rate)]))
    return made


def as_bytes(samples: Array) -> bytes:
    return (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()


@dataclass(frozen=True)
class Spoken:
    """A program, and the times at which the speech of its recordings ends; the last is the end of the program."""

    audio: bytes
    ends_s: tuple[float, ...]


def spoken_programs(recordings: Recordings, rate: int, count: int, seconds: float, silence_s: float) -> list[Spoken]:
    """Programs of at least two recordings and ``seconds``, with ``silence_s`` of digital silence between recordings."""
    source, made = cycle(recordings), []
    for _ in range(count):
        parts: list[Array] = []
        ends: list[float] = []
        while len(ends) < 2 or sum(map(len, parts)) < seconds * rate:
            samples, own_rate = next(source)
            if end := end_of_speech(resample(samples, own_rate, VAD_RATE)):
                if parts:
                    parts.append(np.zeros(round(silence_s * rate), np.float32))
                parts.append(resample(samples[: round(end * own_rate / VAD_RATE)], own_rate, rate))
                ends.append(sum(map(len, parts)) / rate)
        made.append(Spoken(as_bytes(np.concatenate(parts)), tuple(ends)))
    return made


def end_of_speech(samples: Array) -> int:
    """The end of the last window with speech, in samples; 0 without speech. samples: (S,) at VAD_RATE."""
    detector = new_detector()
    windows = [samples[begin : begin + WINDOW] for begin in range(0, len(samples) - WINDOW + 1, WINDOW)]
    speech = [i for i, window in enumerate(windows) if detector.process_array(window) >= SPEECH]
    return (speech[-1] + 1) * WINDOW if speech else 0


def expected_events(recognizer: Recognizer, audio: bytes, rate: int, rules: EndpointRules) -> list[Expected]:
    """The events of a stream without a server for the same messages."""
    stream, found, messages = recognizer.stream(rules), [], pieces(audio, rate)
    for number, content in enumerate(messages):
        found += [(number, event) for event in stream.accept(content, rate)]
    found += [(len(messages) - 1, event) for event in stream.finish()]
    return [Expected(number, json.loads(json.dumps(event.to_dict()))) for number, event in found]


# The server


class ServerProcess:
    """A server in a separate process, on the given cores. url: for HTTP."""

    def __init__(self, command: Sequence[str], cores: Sequence[int]) -> None:
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        os.sched_setaffinity(self.process.pid, cores)
        self.lines: list[str] = []  # of stderr
        self._told = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self._told.wait()
        found = re.search(r"https?://\S+", self.lines[-1] if self.lines else "")
        if not found:
            self.process.wait()
            raise DataError("the server", "did not start", " ".join(self.lines[-1:]), "correct the options")
        self.url = found[0]

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            if "http" in line:
                self._told.set()
        self._told.set()

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws") + "/v1/stream"

    def usage(self) -> Usage:
        return usage_of(self.process.pid)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))

    def settle(self) -> None:
        """Wait until no stream is live any more, for 20 s at most."""
        end = time.monotonic() + 20
        while self.metric("recitative_live_streams") and time.monotonic() < end:
            time.sleep(0.2)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Usage:
    """Of a process and all processes that it started. mb: memory, with what they share counted once; rss_mb: in each"""

    cpu_s: float
    mb: float
    rss_mb: float


def usage_of(pid: int) -> Usage:
    parents: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(") ", 1)[1].split()
        except OSError:  # it has ended
            continue
        parents.setdefault(int(fields[1]), []).append(int(folder.name))
        ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    family = [pid]
    for one in family:
        family += parents.get(one, [])
    cpu_s = sum(ticks.get(one, 0) for one in family) / os.sysconf("SC_CLK_TCK")
    resident, shared_once = zip(*map(memory_of, family), strict=True)
    return Usage(cpu_s, sum(shared_once) / 1e6, sum(resident) / 1e6)


def split_cores() -> tuple[list[int], list[int]]:
    """Cores of the server and of the load generator: the same on a machine with at most two."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[:CORES], cores[CORES:] or cores


# Trials


@dataclass
class Trial:
    """One number of streams.

    heard:     events that arrived while all streams were live
    wrong:     events that differ from those of a stream without a server, or are missing
    early:     why streams ended early
    cpu:       CPU seconds of the server per second of a stream
    late_ms:   p99 of the delay of messages, if the generator or the server is too slow
    generator: cores that the generator used
    """

    streams: int
    heard: list[Heard]
    wrong: int
    early: list[str]
    cpu: float
    mb: float
    late_ms: float
    generator: float
    changes: Changes = field(default_factory=Changes)

    @property
    def partial_ms(self) -> list[float]:
        """p50, p95, p99; NaN without partial results."""
        return percentiles([1000 * one.latency_s for one in self.partials])

    @property
    def partials(self) -> list[Heard]:
        return [one for one in self.heard if one.event["type"] == "partial"]

    @property
    def passes(self) -> bool:
        return self.partial_ms[1] <= MAX_MS and not self.wrong and not self.early

    @property
    def faults(self) -> str:
        early = f", {len(self.early)} streams ended early ({self.early[0]})" if self.early else ""
        return f"{self.wrong} wrong{early}"

    def line(self) -> str:
        p50, p95, p99 = self.partial_ms
        behind50, behind95, _ = percentiles([1000 * one.behind_s for one in self.partials])
        return ", ".join(
            (
                f"{self.streams:4d} streams: partials p50 {p50:4.0f}, p95 {p95:4.0f}, p99 {p99:4.0f} ms",
                f"behind {behind50:4.0f}, {behind95:4.0f} ms",
                f"{self.cpu:.4f} CPU s per stream second",
                f"{self.mb:4.0f} MB",
                self.faults,
                f"generator {self.generator:.2f} cores, late {self.late_ms:.0f} ms",
            )
        )


def percentiles(values: Sequence[float]) -> list[float]:
    """p50, p95, p99."""
    return np.percentile(values, (50, 95, 99)).tolist() if len(values) else [math.nan] * 3


def run_trial(
    load: Load, usage: Callable[[], Usage], judge: Callable[[Played], tuple[list[Heard], int]]
) -> tuple[Trial, list[tuple[Played, list[Heard]]]]:
    """usage: of the server; judge: returns the events of a client and the number of wrong ones."""
    before, most = usage(), 0.0

    def watch() -> None:
        nonlocal most
        most = max(most, usage().mb)

    generated = generate(load, watch)
    after = usage()
    seconds = sum(len(load.programs[one.program]) for one in generated.played) / SAMPLE_BYTES / load.rate
    rows = [(one, *judge(one)) for one in generated.played]
    begin = max(one.start for one in generated.played)
    end = min(one.start + len(load.programs[one.program]) / SAMPLE_BYTES / load.rate for one in generated.played)
    late = [late_s for one in generated.played for late_s in one.late_s]
    trial = Trial(
        load.streams,
        [heard for _, row, _ in rows for heard in row if begin <= heard.at - heard.latency_s <= end],
        sum(wrong for *_, wrong in rows),
        [one.error for one in generated.played if one.error],
        (after.cpu_s - before.cpu_s) / seconds,
        max(most, after.mb),
        1000 * float(np.percentile(late, 99)) if late else math.nan,
        generated.cpu_s / (end - begin + load.stagger_s),
    )
    for one in generated.played:
        trial.changes.add(one.events)
    return trial, [(one, row) for one, row, _ in rows]


def search(title: str, trial: Callable[[int], Trial], options: ServeOptions, seconds: float) -> None:
    """Search for the largest number of streams for about ``seconds``, and print it."""
    end = time.monotonic() + seconds
    trials: dict[int, Trial] = {}

    def passes(streams: int) -> bool:
        trials[streams] = trial(streams)
        print(f"serve     {title}: {trials[streams].line()}", flush=True)
        return trials[streams].passes

    good, bad = largest(passes, min(8, options.streams), options.streams, lambda: time.monotonic() < end)
    too_many = f"{bad} are too many" if bad else "more were not tried"
    print(f"serve     {title}: {good} streams with partials within {MAX_MS:.0f} ms (p95); {too_many}")
    if good:
        changes = trials[good].changes
        differ, revised = share(changes.changed, changes.shown), share(changes.revised, changes.final)
        print(
            f"serve     {title}: {differ} of {changes.shown} words in partials are not in the final result; "
            f"revisions per word of the final results: {revised}; stable parts that changed: {changes.unstable}",
            flush=True,
        )


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def largest(
    passes: Callable[[int], bool], first: int, most: int, goes_on: Callable[[], bool]
) -> tuple[int, int | None]:
    """The largest number that passes, within a tenth, and the smallest that failed; at least one is tried."""
    good, bad, n = 0, None, first
    while True:
        if passes(n):
            good = n
        else:
            bad = n
        if bad is None:
            n = min(2 * good, most)
        elif bad - good <= max(1, good // 10):
            return good, bad
        else:
            n = (good + bad) // 2
        if n in (good, 0) or not goes_on():
            return good, bad


@dataclass
class Contest:
    """A model with its decoding, and the recordings for it."""

    options: ServeOptions
    recordings: Recordings
    decoding: DecodingArguments
    rules: EndpointRules = field(default_factory=EndpointRules)

    def __post_init__(self) -> None:
        self.recognizer = open_recognizer(find_model(self.options.model), self.decoding)
        self.rate = self.recognizer.sample_rate
        self.cores, self.generator_cores = split_cores()

    @contextmanager
    def server(self, *more: str) -> Iterator[ServerProcess]:
        """``recitative serve`` with the same decoding."""
        command = [sys.executable, "-m", "recitative", "serve", "--model", self.options.model, "--port", "0"]
        command += ["--text", "raw", "--streams", str(max(self.options.streams, IDLE_STREAMS) + 1), *more]
        if self.decoding.lm:
            command += ["--lm", self.decoding.lm]
        if self.decoding.beam:
            command += ["--beam", str(self.decoding.beam)]
        server = ServerProcess(command, self.cores)
        try:
            yield server
        finally:
            server.stop()

    def load(self, server: ServerProcess, programs: Sequence[bytes], streams: int) -> Load:
        stagger_s = min(STAGGER_S, self.options.seconds / 4)
        cores = tuple(self.generator_cores)
        return Load((server.stream_url,), tuple(programs), self.rate, streams, stagger_s, PATIENCE_S, cores)

    def expected(self, programs: Sequence[bytes]) -> list[list[Expected]]:
        return [expected_events(self.recognizer, program, self.rate, self.rules) for program in programs]

    def trial(self, server: ServerProcess) -> Callable[[int], Trial]:
        count = min(PROGRAMS, self.options.streams)
        programs = programs_of(self.recordings, self.rate, count, self.options.seconds)
        expected = self.expected(programs)
        whole = [
            " ".join(one.event["text"] for one in row if one.event["type"] == "final")
            == self.recognizer.transcribe(np.frombuffer(program, "<i2"), self.rate).text
            for row, program in zip(expected, programs, strict=True)
        ]
        print(f"serve     {sum(whole)} of {count} programs have the text of 'transcribe', which cuts at other pauses")

        def run(streams: int) -> Trial:
            server.settle()
            found, _ = run_trial(
                self.load(server, programs, streams), server.usage, lambda one: compare(one, expected[one.program])
            )
            return found

        return run


def measure_finals(contest: Contest) -> None:
    """Run and print the results."""
    silence_s, streams = contest.rules.silence_s, min(FINAL_STREAMS, contest.options.streams)
    spoken = spoken_programs(
        contest.recordings, contest.rate, min(PROGRAMS, streams), contest.options.seconds, silence_s + 1.5
    )
    programs = [one.audio for one in spoken]
    expected = contest.expected(programs)
    with contest.server() as server:
        load = contest.load(server, programs, streams)
        trial, rows = run_trial(load, server.usage, lambda one: compare(one, expected[one.program]))
    by_rules, by_client, left_out = [], [], 0
    for played, heard in rows:
        *ended, finished = final_delays(heard, played.start, spoken[played.program].ends_s)
        by_rules += [1000 * (delay_s - silence_s) for delay_s in ended if delay_s is not None]
        by_client += [1000 * delay_s for delay_s in (finished,) if delay_s is not None]
        left_out += (*ended, finished).count(None)
    for title, values in ((f"{silence_s:g} s of silence end it, and", by_rules), ("the client ends it:", by_client)):
        p50, p95, p99 = percentiles(values)
        print(f"final     {title} p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms after the speech ({len(values)})")
    print(f"final     {streams} streams, {trial.faults}; left out: {left_out} whose last words were not recognized")


def final_delays(heard: Sequence[Heard], start: float, ends_s: Sequence[float]) -> list[float | None]:
    """Seconds from each end of speech to the arrival of its last final result.

    None if no word was recognized in the last second of the speech: the rules end the utterance earlier then.
    """
    delays: list[float | None] = []
    for end_s, next_s in zip(ends_s, [*ends_s[1:], math.inf], strict=True):
        delay = None
        for one in heard:
            words = one.event["words"] if one.event["type"] == "final" else ()
            if words and end_s - 1.0 <= words[-1]["end"] < min(end_s + 1.0, next_s):
                delay = one.at - start - end_s
        delays.append(delay)
    return delays


def measure_memory(contest: Contest) -> None:
    """Run and print the results."""
    count = min(IDLE_STREAMS, contest.options.streams)
    program = programs_of(contest.recordings, contest.rate, 1, 1.0)[0]
    with contest.server() as server:
        before, opened = asyncio.run(_open_idle(server, program, contest.rate, count))
    each_kb = 1000 * (opened.mb - before.mb) / count
    print(
        f"memory    {each_kb:.0f} KB for each of {count} streams that have heard 1 s; {opened.mb:.0f} MB in all "
        f"({opened.rss_mb:.0f} MB if what its processes share counts in each)",
        flush=True,
    )


async def _open_idle(server: ServerProcess, audio: bytes, rate: int, count: int) -> tuple[Usage, Usage]:
    """After a stream in each worker process, and with all streams open."""

    async def hear(stack: AsyncExitStack) -> None:
        heard_s = server.metric("recitative_audio_seconds_total")
        socket = await stack.enter_async_context(connect(f"{server.stream_url}?rate={rate}"))
        for content in pieces(audio, rate):
            await socket.send(content)
        while server.metric("recitative_audio_seconds_total") < heard_s + len(audio) / SAMPLE_BYTES / rate - 1e-6:
            await asyncio.sleep(MESSAGE_S / 10)

    async with AsyncExitStack() as first:
        for _ in range(CORES):  # one in each worker process
            await hear(first)
    server.settle()
    before = server.usage()
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await hear(stack)
        return before, server.usage()
