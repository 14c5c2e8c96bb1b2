"""The API's way to the read models: an AUTOCOMMIT engine of its own, asked in a pool of threads.

AUTOCOMMIT, because every question is one read: nothing is left open between requests, and each statement sees the
newest committed rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.errors import DependencyUnavailable
from projections.tables import read_model

Answer = TypeVar("Answer")

STATEMENT_TIMEOUT_S = 20
_POOL_SIZE = 8
# The JSON of 5,000 readings is 1.3 MB; MariaDB's default of 1 MiB would cut it off without an error.
_LONGEST_JSON_BYTES = 16 * 1024 * 1024 - 1


class Database:
    """Reads, each on a pooled connection in a thread.

    Args:
        url: SQLAlchemy URL of MySQL, MariaDB or SQLite.
        threads: how many questions are asked at a time; the rest wait in line.
    """

    def __init__(self, url: str, *, threads: int = _POOL_SIZE) -> None:
        on_mysql = url.startswith(("mysql", "mariadb"))
        arguments: dict[str, Any] = {"timeout": 5.0}
        if on_mysql:
            arguments = {"connect_timeout": 5, "read_timeout": STATEMENT_TIMEOUT_S, "write_timeout": 5}
        self._engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=threads,
            max_overflow=0,
            pool_timeout=5,
            pool_recycle=1800,
            pool_pre_ping=on_mysql,
            connect_args=arguments,
        )
        event.listen(self._engine, "connect", _prepare_mysql if on_mysql else _prepare_sqlite)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")

    async def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        """What `question(connection, *arguments)` returns, run in a thread.

        Raises:
            DependencyUnavailable: the database cannot be reached, is not migrated, or took too long.
        """
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, self._ask_now, question, arguments)
        try:
            return await asyncio.wait_for(asked, STATEMENT_TIMEOUT_S + 10)
        except TimeoutError as error:
            raise DependencyUnavailable("database", "no answer in time") from error

    def _ask_now(self, question: Callable[..., Answer], arguments: tuple[Any, ...]) -> Answer:
        try:
            with self._engine.connect() as connection:
                return question(connection, *arguments)
        except (DBAPIError, PoolTimeout) as error:
            raise DependencyUnavailable("database", _cause(error)) from error

    async def close(self) -> None:
        """Let running questions end, then close every connection."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        await asyncio.to_thread(self._engine.dispose)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """All statements within see one state of the database."""
    on_sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN" if on_sqlite else "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
    try:
        yield
    finally:
        connection.exec_driver_sql("ROLLBACK")


def ping(connection: Connection) -> str:
    """The server's kind and version; raises if the tables are not there."""
    connection.execute(select(read_model().devices.c.device_ref).limit(1))
    on_sqlite = connection.dialect.name == "sqlite"
    version = connection.exec_driver_sql("SELECT sqlite_version()" if on_sqlite else "SELECT VERSION()").scalar_one()
    return f"{connection.dialect.name} {version}"


def _cause(error: SQLAlchemyError) -> str:
    """The driver's own words, without SQLAlchemy's copy of the statement and its values."""
    return str(getattr(error, "orig", None) or error)[:300]


def _prepare_mysql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION time_zone = '+00:00', group_concat_max_len = %s", (_LONGEST_JSON_BYTES,))
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
