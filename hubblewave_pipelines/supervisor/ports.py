"""TCP ports: is one free, and which one is."""

import errno
import socket

from hubblewave_pipelines.core.errors import Conflict, Misconfigured


def claim_port(host: str, port: int, *, setting: str, option: str) -> int:
    """`port` when it can be listened on, or a free one for 0.

    Raises Conflict when it is taken and Misconfigured when it cannot be used at all; both name the
    setting.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections do not count
        try:
            probe.bind((host, port))
            probe.listen(1)  # with SO_REUSEADDR two may bind, but only one may listen
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(
                    f"Port {port} on {host} is taken by another program ({setting}): stop that "
                    f"program, or choose another port, for example {option} 0 for any free one."
                ) from error
            raise Misconfigured(
                f"Cannot listen on {host} port {port} ({setting}): {error.strerror or error}."
            ) from error
        return int(probe.getsockname()[1])
