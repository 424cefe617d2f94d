"""An iterator whose items are made in a thread ahead of their use, a bounded number at a time."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


class _End:
    """There are no more items."""


class _Ahead(Generic[T]):
    def __init__(self, source: Iterator[T], size: int) -> None:
        self._source = source
        self._queue: queue.Queue[T | _Failure | _End] = queue.Queue(size)
        self._unwanted = threading.Event()
        self.thread = threading.Thread(target=self._make, name="import-ahead", daemon=True)

    def _make(self) -> None:
        try:
            for item in self._source:
                if not self._offer(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for it
            self._offer(_Failure(error))
            return
        self._offer(_End())

    def _offer(self, item: T | _Failure | _End) -> bool:
        while not self._unwanted.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def items(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failure):
                raise item.error
            yield item

    def stop(self) -> None:
        self._unwanted.set()
        self.thread.join()


@contextmanager
def ahead(source: Iterator[T], size: int = 1) -> Iterator[Iterator[T]]:
    """`source`, run by a thread that stays at most `size` + 1 items ahead.

    What the source raises is raised at its place. Leaving the block stops the thread.
    """
    made = _Ahead(source, size)
    made.thread.start()
    try:
        yield made.items()
    finally:
        made.stop()
