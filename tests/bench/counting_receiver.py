"""A receiver for benches: a process of its own that answers every POST with 200 and counts them.

Prints its port. Each line on its standard input is answered with `count first last`: deliveries so
far and when the first and the last of them came, in seconds of its own clock. A challenge is echoed
and not counted; on the path /hang nothing is ever answered, nor counted.
"""

import asyncio
import sys
import time
from typing import cast

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_HEAD_END, _LENGTH = b"\r\n\r\n", b"content-length:"


class Counting(asyncio.Protocol):
    """HTTP/1.1 with a Content-Length, kept alive; nothing else is ever sent here."""

    requests = 0
    first = last = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no such class
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_HEAD_END)) >= 0:
            head = self._buffer[:end].lower()
            at = head.index(_LENGTH) + len(_LENGTH)
            whole = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            if b'"challenge"' in body:
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                self._transport.write(head + body)
            elif not head.startswith(b"post /hang "):
                Counting.last = time.monotonic()
                Counting.first = Counting.first or Counting.last
                Counting.requests += 1
                self._transport.write(_ANSWER)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Counting, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(Counting.requests, Counting.first, Counting.last, flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
