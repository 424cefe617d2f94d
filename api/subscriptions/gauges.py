"""What /metrics says of sockets and subscriptions."""

from prometheus_client import Counter, Gauge

SOCKETS = Gauge("hubblewave_websockets_open", "WebSockets that are open.")
SUBSCRIPTIONS = Gauge("hubblewave_subscriptions_active", "Subscriptions that are followed.")
SENT = Counter("hubblewave_websocket_results_sent", "Events and answers sent on WebSockets.")
DROPPED = Counter(
    "hubblewave_subscriptions_dropped",
    "Subscriptions ended by the platform; the client may resume from its cursor.",
    ["reason"],
)
CLOSED = Counter("hubblewave_websockets_closed", "WebSockets closed by the platform.", ["code"])
LAG = Gauge(
    "hubblewave_change_feed_lag_seconds",
    "Age of the oldest event of the page of the change feed that was read last; 0 when caught up.",
)
FEED_FAILED = Counter("hubblewave_change_feed_failures", "Looks at the change feed that failed.")
