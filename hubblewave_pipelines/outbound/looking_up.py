"""Names to addresses for whoever dials, in either colour: all of a name's addresses are permitted, or none is."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

from hubblewave_pipelines.core.egress import Allow
from hubblewave_pipelines.core.errors import BlockedTarget

# What `getaddrinfo` answers: (family, type, protocol, canonical name, socket address).
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, Any]
Lookup = Callable[[str, int], Sequence[AddressInfo]]

DNS_SECONDS = 10.0
_MAX_ANSWERS = 64


class Unresolved(OSError):
    """The name has no usable addresses."""


def system_lookup(host: str, port: int) -> Sequence[AddressInfo]:
    """The operating system's resolver; blocks, possibly for long."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def permitted(answers: Sequence[AddressInfo], port: int, allow: Allow) -> Sequence[AddressInfo]:
    """The answers, when the policy permits each of them: nobody picks the good one among bad ones.

    Whether plain http may be spoken to an address is asked again at the dial. Raises Unresolved
    (none, or too many), BlockedTarget.
    """
    if not 0 < len(answers) <= _MAX_ANSWERS:
        raise Unresolved("the name has no usable number of addresses")
    if not all(allow.permits(answer[4][0], port) for answer in answers):
        raise BlockedTarget("The name has an address that is not public.", reason="address")
    return answers
