"""$batch: multipart/mixed of V2 with atomic change sets, and the JSON of V4 with atomicity groups."""

import json
import secrets
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import urlsplit

from hubblewave_pipelines.sandboxes.sap.bodies import encode
from hubblewave_pipelines.sandboxes.sap.exchange import Ask, Refused, Reply, refusal

Serve = Callable[[Ask], Reply]
_PHRASES = {200: "OK", 201: "Created", 204: "No Content", 400: "Bad Request", 404: "Not Found"}


def _inner(
    ask: Ask, method: str, target: str, headers: dict[str, str], body: bytes, root: str
) -> Ask:
    parts = urlsplit(target)
    path = parts.path.removeprefix(root).lstrip("/")
    return Ask(method, path, parts.query, headers, body, ask.base)


def multipart(ask: Ask, root: str, serve: Serve, undo: Callable[[], Callable[[], None]]) -> Reply:
    """`undo()` gives what takes back all that follows: a change set is done whole or not at all.

    Raises Refused when the body is no batch.
    """
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + ask.headers.get("content-type", "").encode() + b"\r\n\r\n" + ask.body
    )
    if message.get_content_type() != "multipart/mixed" or not message.is_multipart():
        raise Refused(400, "/IWFND/CM_MGW/500", "A batch is multipart/mixed")
    boundary = f"batch_{secrets.token_hex(8)}"
    out = []
    for part in message.iter_parts():
        if part.get_content_type() == "multipart/mixed":
            out.append(_change_set(ask, part, root, serve, undo))
        else:
            out.append(_written(serve(_parsed(ask, part, root))))
    body = b"".join(f"--{boundary}\r\n".encode() + one + b"\r\n" for one in out)
    return Reply(
        202,
        body + f"--{boundary}--\r\n".encode(),
        {"content-type": f"multipart/mixed; boundary={boundary}", "dataserviceversion": "2.0"},
    )


def _change_set(
    ask: Ask, part: Any, root: str, serve: Serve, undo: Callable[[], Callable[[], None]]
) -> bytes:
    take_back = undo()
    replies = []
    for inner in part.iter_parts():
        reply = serve(_parsed(ask, inner, root))
        if reply.status >= 400:
            take_back()
            return _written(reply)  # one answer stands for the whole set
        replies.append(reply)
    boundary = f"changeset_{secrets.token_hex(8)}"
    body = b"".join(f"--{boundary}\r\n".encode() + _written(one) + b"\r\n" for one in replies)
    return (
        f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()
        + body
        + f"--{boundary}--\r\n".encode()
    )


def _parsed(ask: Ask, part: Any, root: str) -> Ask:
    text: bytes = part.get_payload(decode=True) or b""
    head, _, body = text.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = head.decode().strip().split("\n")
    words = first.split(" ")
    if len(words) != 3:
        raise Refused(400, "/IWFND/CM_MGW/500", f"'{first}' is no request line")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return _inner(ask, words[0], words[1], headers, body.strip(), root)


def _written(reply: Reply) -> bytes:
    headers = {**reply.headers, "content-length": str(len(reply.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    phrase = _PHRASES.get(reply.status, "Status")
    return (
        b"Content-Type: application/http\r\ncontent-transfer-encoding: binary\r\n\r\n"
        + f"HTTP/1.1 {reply.status} {phrase}\r\n{lines}\r\n".encode()
        + reply.body
    )


def json_batch(ask: Ask, root: str, serve: Serve, undo: Callable[[], Callable[[], None]]) -> Reply:
    """Raises Refused when the body is no batch."""
    try:
        asked = json.loads(ask.body)["requests"]
        ids = [one["id"] for one in asked]
        if len(set(ids)) != len(ids):
            raise ValueError("ids repeat")
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(400, "BATCH/400", f"Malformed batch: {error}") from error
    responses: list[dict[str, Any]] = []
    done: dict[str, bool] = {}
    groups: dict[str, Callable[[], None]] = {}
    for one in asked:
        group = one.get("atomicityGroup")
        if group is not None and group not in groups:
            groups[group] = undo()
        if any(done.get(need) is not True for need in one.get("dependsOn", ())):
            reply = refusal(
                4, Refused(424, "BATCH/424", "A request that this one depends on failed")
            )
        else:
            headers = {name.lower(): value for name, value in one.get("headers", {}).items()}
            body = json.dumps(one["body"]).encode() if "body" in one else b""
            reply = serve(_inner(ask, one["method"].upper(), one["url"], headers, body, root))
        done[one["id"]] = reply.status < 400
        if reply.status >= 400 and group is not None:
            groups[group]()
            responses = [kept for kept in responses if kept.get("atomicityGroup") != group]
        shown: dict[str, Any] = {"id": one["id"], "status": reply.status, "headers": reply.headers}
        if group is not None:
            shown["atomicityGroup"] = group
        if reply.body:
            is_json = "json" in reply.headers.get("content-type", "")
            shown["body"] = json.loads(reply.body) if is_json else reply.body.decode()
        responses.append(shown)
    return Reply(
        200,
        encode({"responses": responses}),
        {"content-type": "application/json", "odata-version": "4.0"},
    )
