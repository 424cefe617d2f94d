"""`hubblewave up`: the whole platform on this machine, from the lock file to the ready file."""

import fcntl
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from hubblewave_pipelines.core.errors import Conflict, Misconfigured
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.supervisor import guard
from hubblewave_pipelines.supervisor.logs import Output
from hubblewave_pipelines.supervisor.ports import reserve_port
from hubblewave_pipelines.supervisor.runtime import remove_runtime
from hubblewave_pipelines.supervisor.stack import Stack
from hubblewave_pipelines.supervisor.state import LOCK, Ready, left_behind, write_ready


class Stopped(Exception):
    """Leaves the start-up wherever it is."""


class Signals:
    """Turns signals into an event that `pause` wakes up for."""

    def __init__(self) -> None:
        self.stop_asked = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._asked)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake up

    def _asked(self, *_: object) -> None:
        self.stop_asked = True

    def pause(self, seconds: float) -> None:
        """Wait, less long when a signal arrives or a child ends. Raises Stopped when asked to."""
        if not self.stop_asked:
            select.select([self._read], [], [], seconds)
            try:
                os.read(self._read, 4096)
            except BlockingIOError:
                pass
        if self.stop_asked:
            raise Stopped


def run(settings: Settings, *, ready_file: Path | None, announce: Callable[[Ready], None]) -> None:
    """Run the platform until a signal stops it; `announce` is called once everything answers.

    Call from the main thread. Raises PlatformError when it cannot start.
    """
    data_dir = settings.data_dir.absolute()
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    with ExitStack() as closing:
        closing.enter_context(_hold(data_dir))
        signals = Signals()
        output = Output(data_dir / "logs", sys.stderr, colour=sys.stderr.isatty())
        closing.callback(output.close)
        if ended := guard.end_all(str(data_dir), grace=5):
            output.say(f"ended {ended} processes left over from an earlier start")
        if (runtime := left_behind(data_dir)) is not None:
            remove_runtime(runtime)
        settings = _with_ports(settings.model_copy(update=_absolute(settings)), closing)
        stack = Stack(settings, output, pause=signals.pause, closing=closing)
        try:
            stack.start()
            ready = stack.wait_ready()
            if ready_file is not None:
                write_ready(ready_file, ready)
                closing.callback(ready_file.unlink, missing_ok=True)
            announce(ready)
            while True:
                stack.watch.tick()
                signals.pause(1.0)
        except Stopped:
            output.say("stopping")
        finally:
            stack.stop()


def _hold(data_dir: Path) -> IO[str]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data_dir / LOCK).open("a+")
    except OSError as error:
        raise Misconfigured(
            f"The data directory {data_dir} cannot be used: {error.strerror}. "
            "Choose another with --data-dir or HUBBLEWAVE_DATA_DIR."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise Conflict(
            f"A platform is already running on {data_dir} (process {holder}): use that one, stop it, "
            "or start another with its own --data-dir."
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _absolute(settings: Settings) -> dict[str, object]:
    """Paths that mean the same in children, whose working directory is another."""
    return {
        name: value.absolute()
        for name in ("data_dir", "spool_dir", "runner_socket", "secret_key_file")
        if (value := getattr(settings, name)) is not None
    }


def _with_ports(settings: Settings, closing: ExitStack) -> Settings:
    """Every port fixed, and reserved until `closing` closes: a child that is started again finds its
    port free. Raises Conflict naming the first that is taken.
    """
    named = (
        ("api_host", "api_port", "--api-port"),
        ("dagster_host", "dagster_port", "--dagster-port"),
        ("code_location_host", "code_location_port", "HUBBLEWAVE_CODE_LOCATION_PORT"),
    )
    chosen: dict[str, int] = {}
    for host, port, option in named:
        wanted = getattr(settings, port)
        if wanted and wanted in chosen.values():
            raise Misconfigured(f"Port {wanted} is given twice; {option} needs one of its own.")
        held = reserve_port(
            getattr(settings, host), wanted, setting=f"HUBBLEWAVE_{port.upper()}", option=option
        )
        closing.callback(held.close)
        chosen[port] = int(held.getsockname()[1])
    return settings.model_copy(update=chosen)
