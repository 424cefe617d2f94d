"""TCP ports: is one free, which one is, and keeping it free until its program listens."""

import errno
import socket
from collections.abc import Callable

from hubblewave_pipelines.core.errors import Conflict, Misconfigured


def reserve_port(host: str, port: int, *, setting: str, option: str) -> socket.socket:
    """A socket bound to `port` (a free one for 0) that never listens: while it is open, the kernel
    gives that port to no connection and to nobody who asks for any free port, but the program it is
    meant for can listen on it, because both set SO_REUSEADDR (socket(7)).

    Raises Conflict when somebody listens there and Misconfigured when it cannot be used at all;
    both name the setting.
    """
    held = _bound(host, port, setting, option)
    try:
        number = held.getsockname()[1]
        with _bound(host, number, setting, option) as probe:
            _try(lambda: probe.listen(1), host, number, setting, option)
    except BaseException:
        held.close()
        raise
    return held


def claim_port(host: str, port: int, *, setting: str, option: str) -> int:
    """`port` when it can be listened on, or one that is free at this moment for 0.

    Raises as `reserve_port`.
    """
    with reserve_port(host, port, setting=setting, option=option) as held:
        return int(held.getsockname()[1])


def _bound(host: str, port: int, setting: str, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections do not count
        _try(lambda: bound.bind((host, port)), host, port, setting, option)
    except BaseException:
        bound.close()
        raise
    return bound


def _try(act: Callable[[], None], host: str, port: int, setting: str, option: str) -> None:
    try:
        act()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"Port {port} on {host} is taken by another program ({setting}): stop that "
                f"program, or choose another port, for example {option} 0 for any free one."
            ) from error
        raise Misconfigured(
            f"Cannot listen on {host} port {port} ({setting}): {error.strerror or error}."
        ) from error
