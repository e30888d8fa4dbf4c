"""Our own figures beside Serve's, for Prometheus: all begin with `ray_pangu_`, scraped from Ray's metrics port."""

from ray.util.metrics import Counter, Gauge, Histogram

from ray_jobs.service.work_queue import Tally

_BOUNDS_S = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]


class QueueMetrics:
    """What one model's queue reports."""

    def __init__(self, model: str) -> None:
        """model: a label, such as `experts` or `fusion`."""
        tags = ("queue",)
        self._counters = {
            name: Counter(f"pangu_{name}", description=said, tag_keys=tags)
            for name, said in (
                ("orders", "orders admitted"),
                ("refused", "orders refused at the queue: no place, or not on offer"),
                ("batches", "batches sampled"),
                ("steps", "steps of orders"),
                ("let_go", "orders given up: the client went, or the time was over"),
            )
        }
        self._depth = Gauge("pangu_waiting_orders", description="orders that wait", tag_keys=tags)
        self._whole_s = Histogram(
            "pangu_order_seconds",
            description="from admission to the pictures",
            boundaries=_BOUNDS_S,
            tag_keys=tags,
        )
        self._tags = {"queue": model}
        self._told = Tally()

    def report(self, tally: Tally, depth: int) -> None:
        """Report what has been added to the tally since the last call."""
        for name, counter in self._counters.items():
            added = getattr(tally, name) - getattr(self._told, name)
            if added > 0:
                counter.inc(added, self._tags)
                setattr(self._told, name, getattr(tally, name))
        self._depth.set(depth, self._tags)

    def order_took(self, seconds: float) -> None:
        """One order got its pictures."""
        self._whole_s.observe(seconds, self._tags)
