"""A client of WebSocket /graphql that shows every message as it is: what no library would send, too."""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

PROTOCOL = "graphql-transport-ws"
SECONDS = 30.0


class GraphqlSocket:
    """One connection; `key` is sent in connection_init, which is then acknowledged."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        origin: str | None = None,
        protocols: Sequence[str] = (PROTOCOL,),
        receive_buffer: int | None = None,
    ) -> None:
        address = urlsplit(url)
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.connect((address.hostname, address.port))
        self.socket: ClientConnection = connect(
            url.replace("http", "ws", 1) + "/graphql",
            subprotocols=[Subprotocol(name) for name in protocols] or None,
            additional_headers=dict(headers or {}),
            origin=origin,  # type: ignore[arg-type]
            max_size=None,
            max_queue=1,
            compression=None,
            sock=plain,
            close_timeout=1,
            legacy=True,
        )
        self.ack: dict[str, Any] = {}
        if key is not None:
            self.say({"type": "connection_init", "payload": {"apiKey": key}})
            self.ack = self.hear()
            assert self.ack["type"] == "connection_ack", self.ack

    def __enter__(self) -> "GraphqlSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, message: Any) -> None:
        """A message as JSON; text and bytes as they are."""
        self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def hear(self, seconds: float = SECONDS) -> dict[str, Any]:
        """The next message, pings left out."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=left))
            if message["type"] != "ping":
                return message

    def subscribe(self, operation: str, query: str, **variables: Any) -> None:
        """Returns once the subscription is live: the pong comes after it."""
        payload = {"query": query, "variables": variables}
        self.say({"type": "subscribe", "id": operation, "payload": payload})
        self.say({"type": "ping"})
        answer = self.hear()
        assert answer["type"] == "pong", answer

    def code(self, seconds: float = SECONDS) -> int:
        """The code with which the server closes, whatever it says before."""
        for _ in range(10_000):
            try:
                self.socket.recv(timeout=seconds)
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd is not None else 1006
        raise AssertionError("the server goes on and on")
