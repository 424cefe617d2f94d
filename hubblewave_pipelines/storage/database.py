"""Connections and transactions, in both colours: the only place that begins, commits or retries.

SQL is built purely (a `Statement`) and executed here. A transaction always says on whose behalf
it runs: a tenant's (row security lets it see that tenant only), the worker's (queues of all
tenants) or the owner's (schema changes, administration).
"""

import asyncio
import select
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import make_conninfo
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql import Executable

from hubblewave_pipelines.core.errors import Unavailable

T = TypeVar("T")
Params = Mapping[str, object] | Sequence[object]

_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]
_SET_TENANT = "select set_config('hubblewave.tenant', %s, true)"


class Role(StrEnum):
    """The database role a connection acts under. OWNER is whoever the URL logs in as."""

    APP = "hubblewave_app"  # tenant data, seen through row security
    WORKER = "hubblewave_worker"  # like APP, and the queues of all tenants
    OWNER = ""


@dataclass(frozen=True, slots=True)
class Statement(Generic[T]):
    """One SQL statement with its parameters, and what to make of a row of its answer."""

    text: str
    params: Params
    row: Callable[[tuple[Any, ...]], T]


def _whole_row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row


def statement(
    text: str, params: Params = (), row: Callable[[tuple[Any, ...]], Any] = _whole_row
) -> Statement[Any]:
    """A statement written as SQL with psycopg placeholders (%s or %(name)s)."""
    return Statement(text, params, row)


def compiled(
    core: Executable, row: Callable[[tuple[Any, ...]], Any] = _whole_row
) -> Statement[Any]:
    """A statement built with SQLAlchemy Core, in the form psycopg executes."""
    sql = core.compile(  # type: ignore[attr-defined]
        dialect=_DIALECT, compile_kwargs={"render_postcompile": True}
    )
    processors = sql._bind_processors
    params = {
        name: processors[name](value) if name in processors and value is not None else value
        for name, value in (sql.params or {}).items()
    }
    return Statement(str(sql), params, row)


_PATIENCE = 5.0  # seconds to wait for one of a pool's connections while others use them
_HOPE = 1.0  # seconds to wait before asking whether the server is there at all
_RECONNECT = 5  # seconds a pool goes on by itself; the next caller makes it try again at once


def _hung_up(connection: Connection | AsyncConnection) -> bool:
    """Whether an idle connection was closed by the server, found without a round trip.

    An idle connection has nothing to read until the server says goodbye. What else it might say
    costs one reconnect when taken for that.
    """
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


class Transaction:
    """An open synchronous transaction; leaving its block commits, an exception rolls back."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def all(self, query: Statement[T]) -> list[T]:
        cursor = self.connection.execute(cast(Any, query.text), query.params)
        return [query.row(row) for row in cursor.fetchall()]

    def one(self, query: Statement[T]) -> T | None:
        """The first row, or None."""
        row = self.connection.execute(cast(Any, query.text), query.params).fetchone()
        return None if row is None else query.row(row)

    def run(self, query: Statement[Any]) -> int:
        """The number of rows written."""
        return self.connection.execute(cast(Any, query.text), query.params).rowcount

    def act_for(self, tenant_id: UUID) -> None:
        """Row security shows this tenant's rows from here to the end of the transaction."""
        self.connection.execute(_SET_TENANT, (str(tenant_id),))

    def copy_out(self, query: Statement[Any], block: int) -> Iterator[tuple[bytes, int]]:
        """What a COPY ... TO STDOUT sends, as blocks of at least `block` bytes that hold whole
        rows, each with the number of its rows.

        Straight from libpq: psycopg's own `copy` costs a coroutine per row, half as much again in
        time. Leaving before the end makes the connection useless; it is closed then.
        """
        text = psycopg.ClientCursor(self.connection).mogrify(cast(Any, query.text), query.params)
        pgconn, ended = self.connection.pgconn, False
        readable = select.poll()
        readable.register(pgconn.socket, select.POLLIN)
        try:
            pgconn.send_query(text.encode())
            while pgconn.flush():
                select.poll().poll(1)
            while pgconn.is_busy():
                readable.poll()
                pgconn.consume_input()
            _expect(pgconn.get_result(), ExecStatus.COPY_OUT)
            gathered, rows = bytearray(), 0  # a list of rows would keep the garbage collector busy
            while True:
                length, row = pgconn.get_copy_data(1)
                if length > 0:
                    gathered += row
                    rows += 1
                    if len(gathered) >= block:
                        yield bytes(gathered), rows
                        gathered, rows = bytearray(), 0
                elif length == 0:
                    readable.poll()
                    pgconn.consume_input()
                else:
                    break
            if rows:
                yield bytes(gathered), rows
            _expect(pgconn.get_result(), ExecStatus.COMMAND_OK)
            while pgconn.get_result() is not None:
                pass
            ended = True
        finally:
            if not ended:
                self.connection.close()


def _expect(result: PGresult | None, status: ExecStatus) -> None:
    """Raises what psycopg would for a result of another status."""
    if result is None:
        raise psycopg.OperationalError("the connection is lost")
    if result.status != status:
        raise psycopg.errors.error_from_result(result)


class AsyncTransaction:
    """As `Transaction`, for the event loop."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    async def all(self, query: Statement[T]) -> list[T]:
        cursor = await self.connection.execute(cast(Any, query.text), query.params)
        return [query.row(row) for row in await cursor.fetchall()]

    async def one(self, query: Statement[T]) -> T | None:
        """The first row, or None."""
        cursor = await self.connection.execute(cast(Any, query.text), query.params)
        row = await cursor.fetchone()
        return None if row is None else query.row(row)

    async def run(self, query: Statement[Any]) -> int:
        """The number of rows written."""
        cursor = await self.connection.execute(cast(Any, query.text), query.params)
        return cursor.rowcount

    async def all_after(self, first: Statement[Any], query: Statement[T]) -> list[T]:
        """The rows of `query`, which runs after `first` and goes to the server together with it."""
        async with self.connection.pipeline():
            await self.connection.execute(cast(Any, first.text), first.params)
            cursor = await self.connection.execute(cast(Any, query.text), query.params)
        return [query.row(row) for row in await cursor.fetchall()]

    async def run_together(self, queries: Iterable[Statement[Any]]) -> None:
        """Run them in this order in one round trip; the first that fails raises its error."""
        async with self.connection.pipeline():
            for query in queries:
                await self.connection.execute(cast(Any, query.text), query.params)

    async def act_for(self, tenant_id: UUID) -> None:
        """Row security shows this tenant's rows from here to the end of the transaction."""
        await self.connection.execute(_SET_TENANT, (str(tenant_id),))


def conninfo(
    url: str,
    role: Role,
    *,
    statement_timeout: float | None = None,
    idle_timeout: float | None = None,
) -> str:
    """`url` with the session fixed: role, UTC, ISO forms, and timeouts in seconds: of a statement,
    and of a transaction whose process says nothing more (it was stopped, or its machine is gone).
    """
    options = ["-c timezone=UTC", "-c datestyle=ISO", "-c intervalstyle=iso_8601"]
    if role is not Role.OWNER:
        options.append(f"-c role={role.value}")
    if statement_timeout is not None:
        options.append(f"-c statement_timeout={int(statement_timeout * 1000)}")
    if idle_timeout is not None:
        options.append(f"-c idle_in_transaction_session_timeout={int(idle_timeout * 1000)}")
    return make_conninfo(
        url,
        options=" ".join(options),
        application_name=f"hubblewave {role.name.lower()}",
        connect_timeout=5,
    )


class Database:
    """Synchronous access for pipelines and commands. Cheap until the first transaction."""

    def __init__(self, url: str, role: Role, *, size: int = 4) -> None:
        self.url = url
        self.role = role
        self._pool = ConnectionPool(
            conninfo(url, role),
            min_size=0,
            max_size=size,
            open=False,
            timeout=10,
            max_lifetime=1200,
        )

    @contextmanager
    def transaction(self, tenant_id: UUID | None = None) -> Iterator[Transaction]:
        """One transaction, on behalf of `tenant_id` when given.

        Raises Unavailable when no connection can be had.
        """
        connection = self._take()
        try:
            with connection.transaction():
                opened = Transaction(connection)
                if tenant_id is not None:
                    opened.act_for(tenant_id)
                yield opened
        finally:
            self._pool.putconn(connection)

    @contextmanager
    def snapshot(self, tenant_id: UUID) -> Iterator[Transaction]:
        """A read-only transaction in which every statement sees the same instant.

        It holds back vacuum as long as it is open. Raises Unavailable as `transaction` does.
        """
        connection = self._take()
        try:
            with connection.transaction():
                connection.execute("set transaction isolation level repeatable read, read only")
                opened = Transaction(connection)
                opened.act_for(tenant_id)
                yield opened
        finally:
            self._pool.putconn(connection)

    def _take(self) -> Connection:
        if self._pool.closed:
            self._pool.open()
        try:
            connection = self._pool.getconn()
            while _hung_up(connection):  # the pool replaces what it is given back closed
                connection.close()
                self._pool.putconn(connection)
                connection = self._pool.getconn()
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise Unavailable("PostgreSQL cannot be reached.", retry_after=5) from error
        return connection

    def connect(self, *, autocommit: bool = True) -> Connection:
        """A connection of the caller's own, outside the pool: leases, concurrent index builds."""
        return psycopg.connect(conninfo(self.url, self.role), autocommit=autocommit)

    def close(self) -> None:
        self._pool.close()


class AsyncDatabase:
    """Access for the event loop. `open` before use; `close` waits for nothing."""

    def __init__(
        self,
        url: str,
        role: Role,
        *,
        size: int = 10,
        statement_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        self.url = url
        self.role = role
        self._pool = AsyncConnectionPool(
            conninfo(url, role, statement_timeout=statement_timeout, idle_timeout=idle_timeout),
            min_size=1,
            max_size=size,
            open=False,
            timeout=_PATIENCE,
            max_lifetime=1200,
            reconnect_timeout=_RECONNECT,
            kwargs={"autocommit": True},  # so that `alone` is one round trip
        )
        self._asking = asyncio.Lock()
        self._asked: tuple[float, bool] = (-_HOPE, True)  # when, and whether the server was there

    async def open(self) -> None:
        """Start the pool. A database that is down now is connected to once it is up."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, tenant_id: UUID | None = None) -> AsyncIterator[AsyncTransaction]:
        """One transaction, on behalf of `tenant_id` when given.

        Raises Unavailable when no connection can be had in 5 s, or in 1 s while the server does
        not take any: a restart that is quicker costs nobody a request.
        """
        connection = await self._take()
        try:
            async with connection.transaction():
                opened = AsyncTransaction(connection)
                if tenant_id is not None:
                    await opened.act_for(tenant_id)
                yield opened
        finally:
            await asyncio.shield(self._pool.putconn(connection))

    async def alone(self, query: Statement[T]) -> T | None:
        """The first row of a statement that is a transaction by itself.

        Raises Unavailable as `transaction` does.
        """
        connection = await self._take()
        try:
            return await AsyncTransaction(connection).one(query)
        finally:
            await asyncio.shield(self._pool.putconn(connection))

    async def _take(self) -> AsyncConnection:
        try:
            connection = await self._getconn()
            while _hung_up(connection):  # the pool replaces what it is given back closed
                await connection.close()
                await self._pool.putconn(connection)
                connection = await self._getconn()
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise Unavailable("PostgreSQL cannot be reached.", retry_after=5) from error
        return connection

    async def _getconn(self) -> AsyncConnection:
        try:
            return await self._pool.getconn(timeout=_HOPE)
        except PoolTimeout:
            if not await self._reachable():
                raise
            return await self._pool.getconn(timeout=_PATIENCE - _HOPE)

    async def _reachable(self) -> bool:
        """Whether the server takes connections, or is about to; asked once for all who wait."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now - self._asked[0] < _HOPE:
                return self._asked[1]
            try:
                probe = await AsyncConnection.connect(conninfo(self.url, self.role))
                await probe.close()
                there = True
            except psycopg.OperationalError as error:
                there = "starting up" in str(error)  # its own words; it never says more
            self._asked = (asyncio.get_running_loop().time(), there)
            return there
