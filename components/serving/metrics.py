"""Counters for whoever scrapes `/metrics`; no label carries anything that a person typed."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from components.serving.champions import Champions


class Metrics:
    """One set an application, so that two gateways in one process do not share counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "banyan_requests", "Requests to tasks by outcome", ["table", "outcome"], registry=self._registry
        )
        self.refusals = Counter("banyan_refusals", "Requests that were not let in", ["reason"], registry=self._registry)
        self.shadows = Counter(
            "banyan_shadows", "Requests that a shadow heard, by outcome", ["table", "outcome"], registry=self._registry
        )
        self.tokens = Counter("banyan_tokens", "Tokens written", ["table"], registry=self._registry)
        self.seconds = Histogram(
            "banyan_answer_seconds", "From request to durable answer", ["table"], registry=self._registry
        )
        self._version = Gauge("banyan_champion_version", "Version that answers", ["table"], registry=self._registry)
        self._waiting = Gauge("banyan_waiting_requests", "Requests in the queue", ["table"], registry=self._registry)
        self._writing = Gauge("banyan_writing", "Texts being written", ["table"], registry=self._registry)
        self._swaps = Gauge("banyan_swaps", "Champion swaps since start", registry=self._registry)

    def text(self, champions: Champions) -> bytes:
        """The Prometheus text format, version 0.0.4."""
        self._version.clear()
        self._waiting.clear()
        self._writing.clear()
        for seat in champions.seats():
            if seat.batcher:
                self._version.labels(seat.table).set(seat.batcher.engine.ref.version)
                self._waiting.labels(seat.table).set(seat.batcher.num_waiting)
                self._writing.labels(seat.table).set(seat.batcher.num_writing)
        self._swaps.set(champions.num_swaps)
        return generate_latest(self._registry)
