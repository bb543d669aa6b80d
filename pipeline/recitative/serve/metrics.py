"""Metrics of a server, for Prometheus."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.live = Gauge("recitative_live_streams", "Live streams now.", registry=own)
        self.streams = Counter("recitative_streams", "Live streams since the start.", registry=own)
        self.recordings = Counter("recitative_recordings", "Recordings transcribed.", registry=own)
        self.refused = Counter("recitative_refused", "Requests that were refused, by reason.", ["reason"], registry=own)
        self.errors = Counter("recitative_errors", "Errors of the server itself.", registry=own)
        self.audio = Counter("recitative_audio_seconds", "Seconds of audio processed.", registry=own)
        self.work = Counter("recitative_work_seconds", "Seconds of computing for it.", registry=own)
        self.together = Histogram(
            "recitative_streams_per_step",
            "Streams that one call of the network served.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=own,
        )
        self.lag = Histogram(
            "recitative_lag_seconds",
            "From the arrival of a piece of live audio to its events.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=own,
        )
        self.workers = Gauge("recitative_workers", "Worker processes that are ready.", registry=own)
        self.worker_deaths = Counter(
            "recitative_worker_deaths", "Worker processes that ended unexpectedly.", registry=own
        )
        self.memory = Gauge(
            "recitative_memory_bytes",
            "Memory of the server and its workers; what they share counts once (Linux).",
            registry=own,
        )
        self.resident = Gauge(
            "recitative_resident_bytes", "The same; what they share counts in each of them (Linux).", registry=own
        )

    def count_audio(self, audio_s: float, work_s: float, streams: int = 0) -> None:
        """Count processed audio and its computing time. streams: that were stepped together; 0 = a recording."""
        self.audio.inc(audio_s)
        self.work.inc(work_s)
        if streams:
            self.together.observe(streams)

    def text(self) -> bytes:
        return generate_latest(self.registry)


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, and its share of them: a page of n processes counts 1/n. 0 on other systems than
    Linux."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
        return 1024 * kilobytes["Rss"], 1024 * kilobytes["Pss"]
    return 0, 0
