"""What a delivery worker counts, and the little server that shows it: /health and /metrics."""

from collections import Counter as Tally
from collections.abc import Sequence
from uuid import UUID

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from hubblewave_pipelines.storage.results import Result

ATTEMPTS = Counter(
    "hubblewave_webhook_attempts_total",
    "Attempts by webhook and outcome: success, or the class of the failure.",
    ["webhook", "outcome"],
)
SECONDS = Histogram(
    "hubblewave_webhook_attempt_seconds",
    "How long receivers took.",
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30),
)
IN_FLIGHT = Gauge(
    "hubblewave_webhook_in_flight", "Deliveries that this worker began and has not recorded."
)
LEASED = Gauge("hubblewave_webhook_leased", "Deliveries that this worker has claimed.")
LOST = Counter("hubblewave_webhook_leases_expired_total", "Deliveries taken from dead workers.")
FANNED = Counter("hubblewave_webhook_events_total", "Events turned into deliveries.")


def count(results: Sequence[Result]) -> None:
    ended: Tally[tuple[UUID, str]] = Tally()
    for result in results:
        outcome = "success" if result.outcome == "success" else result.error_class or "failed"
        ended[result.webhook_id, outcome] += 1
        SECONDS.observe(result.duration_ms / 1000)
    for (webhook_id, outcome), number in ended.items():
        ATTEMPTS.labels(str(webhook_id), outcome).inc(number)


async def serve(host: str, port: int) -> web.AppRunner:
    """Start answering; close the runner to stop. Port 0 takes a free one."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
