"""The API's way to the read models: an AUTOCOMMIT engine of its own, asked in a pool of threads.

AUTOCOMMIT, because every question is one read: nothing is left open between requests, and each statement sees the
newest committed rows.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.errors import DependencyUnavailable, SettingInvalid
from projections.dialect import translated_errors
from projections.tables import read_model

Answer = TypeVar("Answer")

STATEMENT_TIMEOUT_S = 20
_POOL_SIZE = 8
# The JSON of 5,000 readings is 1.3 MB; MariaDB's default of 1 MiB would cut it off without an error.
_LONGEST_JSON_BYTES = 16 * 1024 * 1024 - 1
_MYSQL_NOT_MIGRATED = frozenset({1054, 1146})  # unknown column, no such table
_MYSQL_STOPPED = frozenset({1203, 1226, 1317, 1969, 3024})  # too many connections of one user, or too long a statement


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
            DBAPIError: it refuses the question itself, which is a defect of ours.
        """
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, self._ask_now, question, arguments)
        try:
            return await asyncio.wait_for(asked, STATEMENT_TIMEOUT_S + 10)
        except TimeoutError as error:
            raise DependencyUnavailable("database", "no answer in time") from error

    def _ask_now(self, question: Callable[..., Answer], arguments: tuple[Any, ...]) -> Answer:
        try:
            with translated_errors(), self._engine.connect() as connection:
                return question(connection, *arguments)
        except (PoolTimeout, SettingInvalid) as error:
            raise DependencyUnavailable("database", str(error)[:300]) from error
        except DBAPIError as error:
            if not _is_not_ours(error):
                raise
            raise DependencyUnavailable("database", str(error.orig)[:300]) from error

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


def _is_not_ours(error: DBAPIError) -> bool:
    """Whether an operator can mend it, and no other statement would fare better."""
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        return any(words in str(cause) for words in ("no such table", "no such column"))
    return not (_MYSQL_NOT_MIGRATED | _MYSQL_STOPPED).isdisjoint(cause.args[:1])


def _prepare_mysql(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION time_zone = '+00:00', group_concat_max_len = %s", (_LONGEST_JSON_BYTES,))
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA busy_timeout = 5000")
