"""The state of the delivery queue of all tenants as gauges, for workers and the API alike."""

from prometheus_client import Gauge

DEPTH = Gauge(
    "hubblewave_webhook_queue_depth",
    "The queue of all tenants by state: unfanned, due, sending, held, dead; and webhooks with an "
    "open circuit or disabled.",
    ["state"],
)
OLDEST = Gauge(
    "hubblewave_webhook_queue_oldest_seconds", "Age of the oldest of each state.", ["state"]
)


def show_queue(states: list[tuple[str, int, float]]) -> None:
    for name in ("unfanned", "due", "sending", "held", "dead", "circuit_open", "disabled"):
        depth, oldest = next(((d, o) for state, d, o in states if state == name), (0, 0.0))
        DEPTH.labels(name).set(depth)
        OLDEST.labels(name).set(max(0.0, oldest))
