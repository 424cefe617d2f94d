"""The parts of one platform: in which order they start, when they are ready, how they stop."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from pydantic import SecretStr

from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.secret_keys import key_file, make_key_file
from hubblewave_pipelines.supervisor import first_start, guard, probes, programs
from hubblewave_pipelines.supervisor.children import Child, Watch
from hubblewave_pipelines.supervisor.logs import Output
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from hubblewave_pipelines.supervisor.runtime import make_runtime, remove_runtime
from hubblewave_pipelines.supervisor.state import Ready, State, remove_state, write_state
from hubblewave_pipelines.sync.installing import install

_GRACE = 10.0  # seconds a stage of children has to stop
_STILL_WAITING = 20.0  # seconds after which we say what is missing


class Stack:
    """One platform. `pause` waits for some seconds and raises when a signal asks to stop; what must
    be undone at the very end goes to `closing`.
    """

    def __init__(
        self,
        settings: Settings,
        output: Output,
        *,
        pause: Callable[[float], None],
        closing: ExitStack,
    ) -> None:
        self.settings = settings
        self.watch = Watch(output.say)
        self._output = output
        self._pause = pause
        self._closing = closing
        self._runtime = make_runtime()
        closing.callback(remove_runtime, self._runtime)
        self._stages: list[list[Child]] = []
        self._postgres: EmbeddedPostgres | None = None
        self._guard: Child | None = None
        self._guard_pipe = -1
        self._owner: Database | None = None

    def start(self) -> None:
        """Start everything; returns once the last child has been started, not once it answers."""
        self._output.say(f"starting on {self.settings.data_dir}")
        self._start_guard()
        self._start_databases()
        settings = self.settings
        environment = self._environment()
        url = settings.require_database_url()
        self._output.say(f"database schema at revision {install(url)}")
        self._owner = Database(url, Role.OWNER, size=1)
        first_start.make_first_tenant(self._owner)
        if settings.secret_key is None and make_key_file(key_file(settings)):
            path = key_file(settings)
            self._output.say(
                f"made the key of stored secrets, {path}: back it up with the database"
            )
        settings.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._pause(0)
        self._stage(
            self._child("api", programs.api(settings), environment),
            self._child("worker", programs.worker(), environment),
        )
        dagster_url = settings.require_dagster_database_url()
        first_start.make_dagster_storage(dagster_url, environment)
        self._pause(0)
        code = self._child("code", programs.code_server(settings), environment)
        ping = probes.code_server_ping(settings.code_location_host, settings.code_location_port)
        serving = [code]
        if settings.warm_launcher and settings.runner_socket is not None:
            forget = partial(settings.runner_socket.unlink, missing_ok=True)
            serving.append(self._child("runner", programs.runner(), environment, before=forget))
        self._stage(*serving, probe=ping)
        # The webserver and the daemon would log a page of errors about a code server that is not up.
        self._until(lambda: None if self.watch.well(code) else "the code server does not answer")
        self._stage(
            self._child("webserver", programs.webserver(settings), environment),
            self._child("daemon", programs.daemon(settings), environment),
            self._child("graph", programs.graph(), environment),
        )

    def wait_ready(self) -> Ready:
        """Wait until every part answers, restarting what ends meanwhile."""
        settings = self.settings
        for missing in self._checks():
            self._until(missing)
        if self._owner is None:
            raise Misconfigured("The platform was not started.")
        tenant = first_start.make_first_tenant(self._owner)
        return Ready(
            api_url=settings.api_url,
            graphql_url=f"{settings.api_url}/graphql",
            dagster_url=settings.dagster_base_url,
            database_url=settings.require_database_url(),
            tenant=tenant.slug,
            api_key=first_start.make_first_key(self._owner, tenant),
            pid=os.getpid(),
        )

    def stop(self) -> None:
        """Stop in reverse order, PostgreSQL last; nothing of ours runs afterwards."""
        settings = self.settings
        for stage in reversed(self._stages):
            drains = any(child.name == "worker" for child in stage)
            more = settings.webhook_drain_seconds if drains else 0.0
            self.watch.stop(stage, timeout=_GRACE + more)
        guard.end_all(str(self.settings.data_dir), grace=3)
        if self._guard is not None:
            os.write(self._guard_pipe, b"bye\n")
            os.close(self._guard_pipe)
            self.watch.stop([self._guard], timeout=2)
        if self._owner is not None:
            self._owner.close()
        if self._postgres is not None:
            self.watch.stop([self._postgres], timeout=60)
            self._postgres.stop()
        remove_state(self.settings.data_dir)
        self._output.say("stopped")

    def _start_guard(self) -> None:
        """Its input is a pipe that only we hold open, so it learns of our end from the kernel."""
        read_end, self._guard_pipe = os.pipe()
        arguments = programs.guard(self.settings.data_dir)
        output = self._output.pipe("guard")
        self._guard = Child("guard", arguments, {}, output=output, stdin=read_end)
        self.watch.add(self._guard)

    def _start_databases(self) -> None:
        settings = self.settings
        update: dict[str, object] = {}
        if settings.database_url is None:
            server = EmbeddedPostgres(
                settings.data_dir / "postgres", output=self._output.pipe("postgres")
            )
            self._postgres = server
            self.watch.add(server)
            if settings.graphql_introspection is None:
                update["graphql_introspection"] = True  # a machine of one's own
            url = server.url()
            dagster_url = server.url("dagster", driver="postgresql+psycopg2")
        else:
            url = settings.database_url.get_secret_value()
            first_start.require_reachable(url, "HUBBLEWAVE_DATABASE_URL")
            dagster_url = first_start.dagster_url_beside(url)
            if settings.dagster_database_url is None:
                first_start.make_dagster_database(url, dagster_url)
        if settings.dagster_database_url is None:
            update["dagster_database_url"] = SecretStr(dagster_url)
        if settings.runner_socket is None:
            update["runner_socket"] = self._runtime / "runner.sock"
        update["database_url"] = SecretStr(url)
        self.settings = settings.model_copy(update=update)
        state = State(
            pid=os.getpid(),
            database_url=url,
            dagster_database_url=self.settings.require_dagster_database_url(),
            api_url=settings.api_url,
            dagster_url=settings.dagster_base_url,
            runtime=str(self._runtime),
        )
        write_state(settings.data_dir, state)

    def _environment(self) -> dict[str, str]:
        home = first_start.write_dagster_home(self.settings.data_dir / "dagster")
        return {
            **self.settings.child_environment(),
            "DAGSTER_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
            guard.VARIABLE: str(self.settings.data_dir),
        }

    def _child(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        *,
        before: Callable[[], None] | None = None,
    ) -> Child:
        output = self._output.pipe(name)
        return Child(
            name, arguments, environment, output=output, before=before, cwd=self.settings.data_dir
        )

    def _stage(self, *children: Child, probe: Callable[[], bool] | None = None) -> None:
        """Start these; `probe` watches the first of them."""
        self._stages.append(list(children))
        for index, child in enumerate(children):
            self.watch.add(child, probe=probe if index == 0 else None)

    def _until(self, missing: Callable[[], str | None]) -> None:
        """Wait until nothing is missing, restarting what ends meanwhile and saying what lacks."""
        said, since = "", time.monotonic()
        while what := missing():
            self.watch.tick()
            if what != said and time.monotonic() - since > _STILL_WAITING:
                said, since = what, time.monotonic()
                self._output.say(f"still waiting: {what}")
            self._pause(0.2)

    def _checks(self) -> list[Callable[[], str | None]]:
        """What must be there before the platform is ready, the quickest first."""
        settings = self.settings
        api = f"{_local(settings.api_host, settings.api_port)}/health/ready"
        dagster = _local(settings.dagster_host, settings.dagster_port)
        checks: list[Callable[[], str | None]] = [
            lambda: None if probes.answers(api) else "the API is not ready",
            partial(probes.location_missing, dagster),
            partial(probes.daemon_missing, dagster),
        ]
        if settings.warm_launcher and (listening := settings.runner_socket) is not None:
            checks.append(lambda: None if listening.exists() else "the runner does not listen yet")
        return checks


def _local(host: str, port: int) -> str:
    """Where we reach a child that listens on `host`, which may mean every address."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{f'[{reachable}]' if ':' in reachable and '[' not in reachable else reachable}:{port}"
