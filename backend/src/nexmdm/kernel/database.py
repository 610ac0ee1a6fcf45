"""The database of one process: engine, raw connections, and what counts as "unavailable".

A rule that logs or counts what it wrote commits first, so that no line speaks of what never was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic, perf_counter
from typing import Any, Final, Self

import asyncpg
from sqlalchemy import Executable, Row, event, exc
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from nexmdm.kernel import metrics, sessions
from nexmdm.kernel.events import DB_OPERATION, DEPENDENCY_AWAY
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Settings

POOL_TIMEOUT_S = 10.0  # a crowd that enrols at once may queue for a while before it is turned away
_TRUSTED_S: Final = 1.0  # after its last use a pooled connection is taken to be there
_USED_AT: Final = "used at"  # what the pool's records hold
_COUNTED: Final = "counted"
STATEMENT_TIMEOUT_S = 5.0  # a frozen server must turn into a 503, not into a request that hangs

_CLASSES = (  # a server that cannot serve, or not us, whatever the statement was
    asyncpg.PostgresConnectionError,  # 08
    asyncpg.OperatorInterventionError,  # 57: shutting down, starting up, terminated
    asyncpg.InsufficientResourcesError,  # 53: too many connections, disk full, out of memory
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,  # 28: a password was changed
    asyncpg.InvalidCatalogNameError,  # 3D: the database is being restored
    asyncpg.ObjectNotInPrerequisiteStateError,  # 55: it takes no connections
    asyncpg.InsufficientPrivilegeError,  # 42501: the role lacks a right, which `nexmdm grant` mends without a restart
    asyncpg.ReadOnlySQLTransactionError,  # a fail-over has left us on a standby
    asyncpg.FeatureNotSupportedError,  # 0A: which has no unlogged tables
    asyncpg.TransactionRollbackError,  # 40: undone for the sake of another (a deadlock, 40001 of a standby)
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
)


# What an outage may arrive as; `is_unavailable` tells whether it is one.
OUTAGES: Final = (
    exc.SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


def is_unavailable(error: BaseException) -> bool:
    """True where the database, not the statement, is at fault: the caller may try again."""
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_unavailable(error.orig))
    if isinstance(error, exc.TimeoutError | OSError | TimeoutError):
        return True
    cause = error.__cause__
    return isinstance(error, _CLASSES) or (cause is not None and is_unavailable(cause))


def report_outage(error: Exception) -> None:
    """Log that the database is away; raise the error again where it says something else."""
    if not is_unavailable(error):
        raise error
    emit(DEPENDENCY_AWAY, "error", dependency="database", error=type(error).__name__)


def _connected(_connection: Any, record: Any) -> None:
    record.info[_USED_AT] = monotonic()


def _given_back(_connection: Any, record: Any) -> None:
    record.info[_USED_AT] = monotonic()
    if record.record_info.pop(_COUNTED, False):  # where no new one could be made, it was never taken
        metrics.pool_in_use.dec()


class Database:
    """Owns the engine. One per process and event loop."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.database_url.get_secret_value()
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.connect,
            pool_size=settings.db_pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_S,
            pool_use_lifo=True,  # the one used last has its statements prepared: the first ten writes took 30 ms each
        )
        metrics.pool_size.set(settings.db_pool_size)
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self.engine.sync_engine, "connect", _connected)
        event.listen(self.engine.sync_engine, "checkout", self._taken)
        event.listen(self.engine.sync_engine, "checkin", _given_back)

    async def connect(self) -> asyncpg.Connection[Any]:
        """A raw connection, with limits on every wait. Who calls this owns it: a flusher, a listener, the pool."""
        return await sessions.connect(self.url, STATEMENT_TIMEOUT_S)

    async def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """The rows of one statement, a transaction of its own in one round trip: committed when it is answered."""
        async with self._single.connect() as connection:
            done = await connection.execute(statement, parameters)
            return done.all() if done.returns_rows else []

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """The same with $1, $2, ...: mappings."""
        async with self._single.connect() as connection:
            done = await connection.exec_driver_sql(statement, arguments)
            return list(done.mappings())

    def _taken(self, connection: Any, record: Any, _proxy: Any) -> None:
        """Called for each connection that the pool hands out: one that is lost is replaced, and so are all of its age.

        Asking the server takes three round trips, so one that was in use a moment ago is not asked: had the server
        closed it since, asyncpg would know.
        """
        is_new_or_used = monotonic() - record.info[_USED_AT] < _TRUSTED_S
        if connection.driver_connection.is_closed() or not (is_new_or_used or self._answers(connection)):
            raise exc.InvalidatePoolError
        record.record_info[_COUNTED] = True
        metrics.pool_in_use.inc()

    def _answers(self, connection: Any) -> bool:
        dialect = self.engine.dialect
        try:
            return dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error:
            return False

    async def aclose(self) -> None:
        """Give every pooled connection back to the server."""
        await self.engine.dispose()


class Operation:
    """Measures one write for its `db_operation` line (seed 002): `with Operation("create", "table", key=...)`.

    `name` may be changed before the end, when the database says that it was a replay.
    """

    def __init__(self, name: str, entity: str, **keys: Any) -> None:
        self.name, self.entity, self.keys = name, entity, keys
        self.latency_ms = 0.0

    def __enter__(self) -> Self:
        self._started = perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.latency_ms = round((perf_counter() - self._started) * 1000, 3)
        if kind is None:
            emit(
                DB_OPERATION,
                operation=self.name,
                entity=self.entity,
                keys=self.keys,
                latency_ms=self.latency_ms,
            )
