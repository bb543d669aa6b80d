"""What a server counts, in Prometheus' terms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.live = Gauge("recitative_live_streams", "Live streams now.", registry=self.registry)
        self.streams = Counter("recitative_streams", "Live streams since the start.", registry=self.registry)
        self.recordings = Counter("recitative_recordings", "Recordings transcribed.", registry=self.registry)
        self.refused = Counter(
            "recitative_refused", "Requests that were refused, by reason.", ["reason"], registry=self.registry
        )
        self.errors = Counter("recitative_errors", "Errors of the server itself.", registry=self.registry)
        self.audio = Counter("recitative_audio_seconds", "Seconds of audio heard.", registry=self.registry)
        self.work = Counter("recitative_work_seconds", "Seconds of computing for it.", registry=self.registry)
        self.together = Histogram(
            "recitative_streams_per_step",
            "Streams that one call of the network served.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.lag = Histogram(
            "recitative_lag_seconds",
            "From the arrival of a piece of live audio to its events.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=self.registry,
        )

        self.workers = Gauge("recitative_workers", "Worker processes that are ready.", registry=self.registry)
        self.worker_deaths = Counter(
            "recitative_worker_deaths", "Worker processes that ended unexpectedly.", registry=self.registry
        )
        self.memory = Gauge(
            "recitative_memory_bytes", "Resident memory of the server and its workers (Linux).", registry=self.registry
        )

    def heard(self, audio_s: float, work_s: float, streams: int = 0) -> None:
        self.audio.inc(audio_s)
        self.work.inc(work_s)
        if streams:
            self.together.observe(streams)

    def text(self) -> bytes:
        return generate_latest(self.registry)
