"""Serving a sandbox over HTTP: on a thread for tests, or as this process until it is told to stop."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import uvicorn

from hubblewave_pipelines.sandboxes.app import Sandbox

_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that answers at `url`. Its parts may be used from the test's own thread."""

    url: str
    sandbox: Sandbox


def bind(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A listening socket. Raises OSError when the port is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(256)
    except OSError:
        bound.close()
        raise
    return bound


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{host}:{port}"


def run(sandbox: Sandbox, bound: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    with suppress(KeyboardInterrupt):  # uvicorn has ended in order and passes Ctrl-C on
        _server(sandbox).run(sockets=[bound])


@contextmanager
def on_thread(sandbox: Sandbox, port: int = 0) -> Iterator[Running]:
    """Serve on a thread of this process for as long as the context lasts."""
    bound = bind(port)
    server = _server(sandbox)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        for _ in range(_START_SECONDS * 100):
            if server.started or not thread.is_alive():
                break
            thread.join(0.01)
        if not server.started:
            raise RuntimeError("The sandbox's server did not start.")
        yield Running(url_of(bound), sandbox)
    finally:
        server.should_exit = True
        thread.join(_START_SECONDS)
        bound.close()


def _server(sandbox: Sandbox) -> uvicorn.Server:
    config = uvicorn.Config(
        sandbox,
        interface="asgi3",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # nothing may wrap `send`: faults end its connection
        server_header=False,
        date_header=False,  # the sandbox has its own clock
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,
    )
    return uvicorn.Server(config)
