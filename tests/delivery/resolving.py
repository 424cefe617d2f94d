"""Resolvers for tests: names that lead where a test says."""

import socket
from collections.abc import Sequence

from hubblewave_pipelines.outbound.looking_up import AddressInfo, Lookup


def answers(*addresses: str) -> Lookup:
    """A resolver that gives these addresses for every name."""

    def lookup(_: str, port: int) -> Sequence[AddressInfo]:
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in addresses
        ]  # fmt: skip

    return lookup
