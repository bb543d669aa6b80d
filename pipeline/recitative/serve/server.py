"""The state of a server, which its routes share."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from recitative.asr.stream import EndpointRules
from recitative.errors import UsageError
from recitative.serve.access import Access, Limits, Metrics, memory_of
from recitative.serve.models import Models, ServedModel
from recitative.serve.recordings import Pool
from recitative.serve.streams import LiveStream, LocalHost, OpenModels, Workers


class Server:
    """Models, limits, and the live streams and requests in progress."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        limits: Limits | None = None,
        access: Access | None = None,
        rules: EndpointRules | None = None,
        assistant_port: int = 0,
        processes: int = 1,
        open_models: OpenModels | None = None,
    ) -> None:
        """
        rules:          where the utterances of live streams end
        assistant_port: of the Wyoming protocol; 0 = off
        processes:      worker processes for live streams; 1 = none: streams run in this process
        open_models:    opens the same models in a worker process, if that cannot be forked. It is pickled. Needed for
                        more than 1 process

        Raises UsageError for no models, for duplicate names, and for an assistant port without a recognizer.
        """
        self.models = Models(models)
        if assistant_port and not self.models.recognizer:
            raise UsageError("a voice assistant (--wyoming-port) needs a streaming recognizer; add one with --model")
        self.limits, self.access, self.rules = limits or Limits(), access or Access(), rules or EndpointRules()
        self.metrics = Metrics()
        self.pool = Pool(self.limits, self.metrics)
        self.assistant_port = assistant_port
        self.assistant_socket: socket.socket | None = None  # bound to it by the service
        self.draining = False
        self.live = 0  # streams
        self._local = LocalHost(self.models, self.rules, self.metrics.count_audio)
        self.workers: Workers | None = None
        if processes > 1 and any(model.streams for model in self.models):
            assert open_models, "worker processes may have to open the models themselves"
            self.workers = Workers(processes, models, open_models, self.rules, self.metrics)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run everything that the routes need."""
        async with AsyncExitStack() as stack:
            stack.callback(self.pool.close)
            await stack.enter_async_context((self.workers or self._local).running())
            if self.assistant_socket:
                from recitative.serve.voice_assistant import listening

                await stack.enter_async_context(listening(self, self.assistant_socket))
            yield

    def refusal(self) -> str:
        """Why no live stream can begin; '' if one can."""
        if self.draining:
            return "the server is shutting down; connect again"
        if self.live >= self.limits.streams:
            return f"{self.limits.streams} streams are live; try again later"
        return ""

    def unready(self) -> str:
        """Why load balancers should not send clients now; '' if they should."""
        if self.workers and not self.workers.num_ready:
            return "no worker process is ready; try again later"
        return self.refusal()

    @contextmanager
    def stream(self, model: ServedModel) -> Iterator[LiveStream]:
        """Begin a live stream. It ends with the context."""
        stream = LiveStream(self.workers.choose() if self.workers else self._local, model, self.metrics)
        self.live += 1
        self.metrics.streams.inc()
        self.metrics.live.set(self.live)
        try:
            yield stream
        finally:
            stream.close()
            self.live -= 1
            self.metrics.live.set(self.live)

    def metrics_text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        pids = [os.getpid()]
        if self.workers:
            self.metrics.workers.set(self.workers.num_ready)
            pids += [worker.pid for worker in self.workers.workers]
        resident, shared_once = zip(*map(memory_of, pids), strict=True)
        self.metrics.resident.set(sum(resident))
        self.metrics.memory.set(sum(shared_once))
        return self.metrics.text()
