"""Metrics of a server, for Prometheus."""

from __future__ import annotations

import os
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
            "recitative_memory_bytes", "Resident memory of the server and its workers (Linux).", registry=own
        )

    def count_audio(self, audio_s: float, work_s: float, streams: int = 0) -> None:
        """Count processed audio and its computing time. streams: that were stepped together; 0 = a recording."""
        self.audio.inc(audio_s)
        self.work.inc(work_s)
        if streams:
            self.together.observe(streams)

    def text(self) -> bytes:
        return generate_latest(self.registry)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 on systems other than Linux."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
