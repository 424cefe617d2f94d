"""Children that do not outlive their parent: the kernel signals them when it dies, even by kill -9."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Bound before any fork: between fork and exec only async-signal-safe work is allowed.
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def die_with_parent(with_signal: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the child gets `with_signal` when the thread that started it ends.

    Start children from the main thread only. On systems without prctl this does nothing, and the
    guard process (see `guard`) is what ends them.
    """
    parent = os.getpid()

    def before_exec() -> None:
        if _PRCTL is None:
            return
        _PRCTL(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died between our fork and the call above
            os._exit(1)

    return before_exec
