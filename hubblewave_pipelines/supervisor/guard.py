"""The last resort: a tiny process that ends every supervised process when the supervisor is gone.

Run by path with `python -I -S`, so it imports nothing but the standard library's lightest modules.
It waits on its standard input, a pipe only the supervisor holds: end of file means that the
supervisor ended, in whatever way.
"""

import os
import signal
import sys
import time

VARIABLE = "HUBBLEWAVE_SUPERVISED"


def supervised(token: str) -> list[int]:
    """Processes whose environment marks them as descendants of the supervisor of `token`.

    The mark is inherited by every fork and exec, so it finds runs and servers that left their
    parent's process group. Needs /proc.
    """
    mark = f"{VARIABLE}={token}".encode()
    found: list[int] = []
    if not os.path.isdir("/proc"):
        return found
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as environment:
                if mark not in environment.read().split(b"\0"):
                    continue
            with open(f"/proc/{name}/stat") as status:
                if status.read().rpartition(")")[2].split()[0] in "ZX":
                    continue
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
        found.append(int(name))
    return found


def end_all(token: str, *, grace: float) -> int:
    """SIGTERM to all supervised processes, SIGKILL to those left after `grace` seconds.

    Returns how many there were.
    """
    first = supervised(token)
    _signal(first, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and supervised(token):
        time.sleep(0.1)
    while left := supervised(token):  # one of them may have forked meanwhile
        _signal(left, signal.SIGKILL)
        time.sleep(0.05)
    return len(first)


def _signal(pids: list[int], which: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            continue


def main() -> None:
    token = sys.argv[1]
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, signal.SIG_IGN)
    orderly = False
    while line := os.read(0, 64):
        orderly = orderly or b"bye" in line  # the supervisor has stopped everything itself
    if not orderly:
        end_all(token, grace=3)


if __name__ == "__main__":
    main()
