"""Ports: refused when somebody listens, kept for the program they are meant for."""

import platform
import socket
import struct

import pytest

from hubblewave_pipelines.core.errors import Conflict, Misconfigured
from hubblewave_pipelines.supervisor.ports import claim_port, reserve_port

IP_LOCAL_PORT_RANGE = 51  # ip(7), Linux 6.3: which ports a bind to port 0 of this socket may get


def any_port(only: int) -> socket.socket:
    """A socket bound to any free port, where only one is to be had."""
    asking = socket.socket()
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    asking.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", only << 16 | only))
    asking.bind(("127.0.0.1", 0))
    return asking


@pytest.mark.skipif(
    tuple(map(int, platform.release().split(".")[:2])) < (6, 3),
    reason="Linux before 6.3 cannot narrow the choice of any free port to one",
)
def test_a_reserved_port_is_not_given_to_who_asks_for_any() -> None:
    with reserve_port("127.0.0.1", 0, setting="S", option="--s") as held:
        port = held.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use"):
            any_port(port)
    with any_port(port) as other:
        assert other.getsockname()[1] == port


def test_a_reserved_port_is_there_for_its_program_each_time_it_starts() -> None:
    with reserve_port("127.0.0.1", 0, setting="S", option="--s") as held:
        port = held.getsockname()[1]
        for _ in range(2):
            with (
                socket.create_server(("127.0.0.1", port)),
                pytest.raises(Conflict, match=f"Port {port} on 127.0.0.1 is taken"),
            ):
                reserve_port("127.0.0.1", port, setting="S", option="--s")


def test_a_claimed_port_is_free_afterwards() -> None:
    port = claim_port("127.0.0.1", 0, setting="S", option="--s")
    assert claim_port("127.0.0.1", port, setting="S", option="--s") == port


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"Cannot listen on 192\.0\.2\.1 port 0 \(S\)"):
        reserve_port("192.0.2.1", 0, setting="S", option="--s")
