"""graphql-transport-ws: what a message of a client calls for, as a state machine without a socket.

The protocol is PROTOCOL.md of the package graphql-ws (sub-protocol `graphql-transport-ws`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec

from api.body import parse
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PlatformError

SUBPROTOCOL = "graphql-transport-ws"
_REASON = 120  # bytes; a close frame takes 123
_ID = 256  # characters of an operation's id that clients may use
_WRITTEN = msgspec.json.Encoder()


class Code(IntEnum):
    """Close codes of the protocol, and the two of RFC 6455 that it leaves to us."""

    TOO_BIG = 1009
    TRY_LATER = 1013
    FAILED = 4500
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL = 4406
    INIT_TIMEOUT = 4408
    DUPLICATE = 4409
    TOO_MANY_INITS = 4429


@dataclass(frozen=True, slots=True)
class Authorise:
    """Find out who this is; then `acknowledge`, or close with FORBIDDEN."""

    payload: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Start:
    """Run an operation; the members of its payload have the types they must have."""

    id: str
    payload: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Stop:
    """The client wants no more of an operation; nothing more is sent for it."""

    id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Send this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    code: Code
    reason: str


Action: TypeAlias = Authorise | Start | Stop | Answer | Close


class _Bad(Exception):
    """The message is not one of the protocol's."""


def close(code: Code, reason: str) -> Close:
    """The reason cut to what a close frame takes."""
    return Close(code, reason.encode()[:_REASON].decode(errors="ignore"))


def _text(message: Mapping[str, Any]) -> str:
    return _WRITTEN.encode(message).decode()


def ping() -> str:
    return '{"type":"ping"}'


def next_start(operation: str) -> str:
    """What a `next` message begins with; its payload's JSON and `}` follow."""
    return f'{{"id":{_WRITTEN.encode(operation).decode()},"type":"next","payload":'


def error(operation: str, errors: list[Json]) -> str:
    """Ends the operation: nothing may be sent for it afterwards."""
    return _text({"id": operation, "type": "error", "payload": errors})


def complete(operation: str) -> str:
    return _text({"id": operation, "type": "complete"})


class Conversation:
    """One connection: who may say what when, and which operations run."""

    def __init__(self) -> None:
        self._asked = False  # connection_init came
        self._acknowledged = False
        self.running: set[str] = set()

    @property
    def acknowledged(self) -> bool:
        return self._acknowledged

    def acknowledge(self, payload: Mapping[str, Json]) -> str:
        """The connection is open for operations; the text to send."""
        self._acknowledged = True
        return _text({"type": "connection_ack", "payload": payload})

    def ended(self, operation: str) -> bool:
        """An operation is over; false when the client has stopped it, and is told nothing more."""
        if operation not in self.running:
            return False
        self.running.remove(operation)
        return True

    def silence(self) -> Close | None:
        """What the end of the time for connection_init calls for."""
        if self._asked:
            return None
        return close(Code.INIT_TIMEOUT, "Connection initialisation timeout")

    def receive(self, text: str) -> Action | None:
        """What a message calls for; None when it calls for nothing."""
        try:
            message = parse(text.encode(errors="surrogatepass"))
        except PlatformError as refused:
            return close(Code.BAD_REQUEST, f"Invalid message: {refused.detail}")
        try:
            return self._act(message)
        except _Bad as bad:
            return close(Code.BAD_REQUEST, f"Invalid message: {bad}")

    def _act(self, message: Json) -> Action | None:
        if not isinstance(message, dict):
            raise _Bad("it is no JSON object")
        match message.get("type"):
            case "connection_init":
                if self._asked:
                    return close(Code.TOO_MANY_INITS, "Too many initialisation requests")
                self._asked = True
                return Authorise(_object(message, "payload") or {})
            case "ping":
                payload = _object(message, "payload")
                return Answer(_text({"type": "pong"} | ({"payload": payload} if payload else {})))
            case "pong":
                _object(message, "payload")
                return None
            case "subscribe":
                return self._subscribe(message)
            case "complete":
                operation = _id(message)
                if operation not in self.running:
                    return None  # it ended by itself while the client said so
                self.running.remove(operation)
                return Stop(operation)
            case str(unknown):
                raise _Bad(f"there is no type {unknown[:40]}")
        raise _Bad("it has no type")

    def _subscribe(self, message: Mapping[str, Json]) -> Action:
        if not self._acknowledged:
            return close(Code.UNAUTHORIZED, "Unauthorized")
        operation = _id(message)
        payload = _object(message, "payload")
        if payload is None:
            raise _Bad("subscribe needs a payload")
        for name in ("query", "documentId", "operationName"):
            if not isinstance(payload.get(name), str | None):
                raise _Bad(f"payload.{name} must be a string")
        for name in ("variables", "extensions"):
            _object(payload, name)
        if payload.get("query") is None and payload.get("documentId") is None:
            raise _Bad("payload.query must be a string")
        if operation in self.running:
            return close(Code.DUPLICATE, f"Subscriber for {operation} already exists")
        self.running.add(operation)
        return Start(operation, dict(payload))


def _id(message: Mapping[str, Json]) -> str:
    found = message.get("id")
    if not isinstance(found, str) or not found or len(found) > _ID:
        raise _Bad(f"id must be a string of 1 to {_ID} characters")
    return found


def _object(message: Mapping[str, Json], name: str) -> Mapping[str, Json] | None:
    found = message.get(name)
    if found is not None and not isinstance(found, dict):
        raise _Bad(f"{name} must be an object")
    return found
