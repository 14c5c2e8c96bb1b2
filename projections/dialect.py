"""All that differs between MySQL (or MariaDB) and SQLite: engines, bulk inserts, row locks and the swap of tables."""

from __future__ import annotations

import errno
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from domain.errors import DependencyUnavailable, SettingInvalid
from projections.tables import ReadModel

Row = tuple[Any, ...]

LOCK_WAIT_S = 5
"""Short, because whoever waits tries again, and must be able to stop within 10 s."""
_IDLE_TRANSACTION_S = 4
"""MariaDB ends a transaction whose owner stands still (a frozen projector), before those who wait for it give up."""
LONGEST_IDLE_S = 60
"""MySQL has no such limit, only one for idle connections (the pool makes those anew)."""
_SQLITE_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "cache_size = -65536",
    "temp_store = MEMORY",
    # In pages: up to 64 MB of log. A batch of a fleet touches a page per device, and a checkpoint writes each page once
    # however often it changed: at the usual 1,000 pages, checkpoints took half of the time and 20 ms every few batches.
    "wal_autocheckpoint = 16000",
)
_DURABLE_PRAGMAS = ("synchronous = FULL", "secure_delete = ON", "wal_autocheckpoint = 1000")
_ROWS_PER_STATEMENT = 2000
_MYSQL_TRY_AGAIN = frozenset({1205, 1213, 1412})  # lock wait timeout, deadlock, table changed under a snapshot
_MYSQL_GONE = frozenset({1040, 1053, 1152, 1158, 1159, 1160, 1161, 1290, 1927, 2002, 2003, 2006, 2013, 2014, 4031})
# Denied to a user (1045, 1698), a database (1044) or a table (1142, 1227); no such database (1049); a host (1130),
# a way to log in (1251, 2059), a password (1820, 1862) or an account (3118, 4151) that the server does not take.
_MYSQL_REFUSED = frozenset({1044, 1045, 1049, 1130, 1142, 1227, 1251, 1698, 1820, 1862, 2059, 3118, 4151})
_NO_SUCH_FILE = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EROFS})


def is_mysql(bind: Connection | Engine) -> bool:
    return bind.dialect.name in ("mysql", "mariadb")


# --- engines --------------------------------------------------------------------------------------------


def write_engine(url: str, *, durable: bool = False) -> Engine:
    """An engine whose transactions see what is committed and take their locks at once (pool 8, recycled at 1800 s).

    Args:
        durable: what is committed must outlive a power cut, and what is deleted must be gone from the disk. MySQL does
            the former anyway; read models on SQLite do without both: they can be rebuilt.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url, "BEGIN IMMEDIATE", _DURABLE_PRAGMAS if durable else ())
    return _mysql_engine(url, isolation_level="READ COMMITTED")


def read_engine(url: str) -> Engine:
    """An engine each of whose statements sees the newest committed rows and that holds no lock in between."""
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url, "BEGIN")
    return _mysql_engine(url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)


def snapshot_engine(url: str) -> Engine:
    """An engine whose transactions read one unchanging state of the database and write nothing."""
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url, "BEGIN")
    return create_engine(url, isolation_level="REPEATABLE READ", pool_size=2, connect_args={"connect_timeout": 5})


def _mysql_engine(url: str, **options: Any) -> Engine:
    arguments = {"connect_timeout": 5, "read_timeout": 120, "write_timeout": 120}
    pool = {"pool_size": 8, "max_overflow": 4, "pool_recycle": 1800, "pool_timeout": 10, "pool_pre_ping": True}
    engine = create_engine(url, connect_args=arguments, **pool, **options)
    event.listen(engine, "connect", _prepare_mysql)
    return engine


def _prepare_mysql(connection: Any, _record: object) -> None:
    mariadb = "MariaDB" in connection.get_server_info()
    idle = f"idle_transaction_timeout = {_IDLE_TRANSACTION_S}" if mariadb else f"wait_timeout = {LONGEST_IDLE_S}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SET SESSION {idle}, innodb_lock_wait_timeout = {LOCK_WAIT_S}, lock_wait_timeout = {LOCK_WAIT_S}, "
            "time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
        )


def _sqlite_engine(url: str, begin: str, more_pragmas: Sequence[str] = ()) -> Engine:
    # check_same_thread: the pool hands a connection to one thread at a time.
    arguments = {"timeout": LOCK_WAIT_S, "check_same_thread": False, "cached_statements": 32}
    engine = create_engine(url, pool_size=8, max_overflow=4, pool_timeout=10, connect_args=arguments)

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in (*_SQLITE_PRAGMAS, *more_pragmas):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", lambda connection: _begin_sqlite(connection, begin))
    return engine


def _begin_sqlite(connection: Connection, begin: str) -> None:
    """Begin as soon as the one writer's lock is free.

    SQLite's own waiting sleeps up to 100 ms at a time and so loses to a writer that goes on without a break.
    """
    raw: Any = connection.connection.dbapi_connection
    raw.execute("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + LOCK_WAIT_S
    try:
        while True:
            try:
                raw.execute(begin)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.0005, 0.003))  # noqa: S311 - spreads waiters, guards nothing
    finally:
        raw.execute(f"PRAGMA busy_timeout = {LOCK_WAIT_S * 1000}")


@contextmanager
def translated_errors(setting: str = "WATTAWAY_DATABASE_URL") -> Iterator[None]:
    """Turn errors that trying again may cure into `DependencyUnavailable`; others are defects and pass.

    Args:
        setting: what names the database.
    Raises:
        SettingInvalid: only another setting (or another right) helps, so that a role which runs ends, too: whoever
            starts it again gives it the settings of then.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error, OSError) as error:
        cause = error.orig or error if isinstance(error, DBAPIError) else error
        if what_to_do := _refusal(cause):
            raise SettingInvalid(f"{setting}: {_detail(cause)}; {what_to_do}") from error
        if not may_pass(error):
            raise
        raise DependencyUnavailable("database", _detail(cause)) from error


def _refusal(cause: BaseException) -> str:
    """What an operator can do about it, if it is the setting's fault; else nothing."""
    if isinstance(cause, sqlite3.Error):
        wrong_file = any(words in str(cause) for words in ("not a database", "readonly database"))
    else:
        wrong_file = isinstance(cause, OSError) and cause.errno in _NO_SUCH_FILE and cause.filename is not None
    if wrong_file:
        return "it must be a SQLite file, in the data dir if this is unset, that may be written"
    refused = bool(cause.args) and cause.args[0] in _MYSQL_REFUSED and not isinstance(cause, OSError)
    return "check the URL's user, password and database, and that user's rights" if refused else ""


def _detail(cause: BaseException) -> str:
    """The driver's sentence, which names user, host and database, never the password."""
    sentence = str(cause if isinstance(cause, OSError) or not cause.args else cause.args[-1])
    return sentence or type(cause).__name__


def may_pass(error: BaseException) -> bool:
    """Whether the same statement may succeed later: the server is away, restarting, out of space or locks."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig or error
    if isinstance(error, sqlite3.OperationalError):
        return any(word in str(error) for word in ("locked", "busy", "disk", "full", "unable to open", "schema has"))
    if isinstance(error, OSError):
        return True
    code = error.args[0] if error.args else None
    return code in _MYSQL_TRY_AGAIN or code in _MYSQL_GONE or code in (1021, 1114)  # disk full, table full


# --- statements -----------------------------------------------------------------------------------------


def execute(connection: Connection, sql: str) -> Any:
    """Run SQL without parameters as it stands: no `%` in it is taken for a placeholder."""
    return connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    """Insert these rows of integers (in the order of the columns), leaving alone those that are there.

    Returns:
        How many were new, as SQLite tells; on MySQL simply how many.
        Never `INSERT IGNORE`: that would clamp values silently.
    """
    parts = range(0, len(rows), _ROWS_PER_STATEMENT)
    return sum(_insert_some(connection, table, rows[start : start + _ROWS_PER_STATEMENT]) for start in parts)


def _insert_some(connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    if is_mysql(connection):
        # Rows of integers and None only, so their Python spelling is SQL.
        values = repr(list(rows))[1:-1].replace("None", "NULL")
        key = next(iter(table.primary_key.columns)).name
        execute(connection, f"INSERT INTO {table.name} VALUES {values} ON DUPLICATE KEY UPDATE {key} = {key}")
        return len(rows)
    marks = ", ".join("?" * len(table.columns))
    sql = f"INSERT INTO {table.name} VALUES ({marks}) ON CONFLICT DO NOTHING"
    return connection.exec_driver_sql(sql, list(rows)).rowcount


def put(connection: Connection, table: Table, rows: Sequence[Row], *, replace: bool) -> None:
    """Insert rows of any types, in the order of the columns; `replace` says who wins where the key is taken."""
    if not rows:
        return
    names = [column.name for column in table.columns]
    others = [name for name in names if name not in table.primary_key.columns]
    mark = "%s" if is_mysql(connection) else "?"
    sql = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
    if is_mysql(connection):
        updates = [f"{name} = VALUES({name})" for name in others] if replace else [f"{names[0]} = {names[0]}"]
        sql += f" ON DUPLICATE KEY UPDATE {', '.join(updates)}"
    elif replace:
        keys = ", ".join(table.primary_key.columns.keys())
        sql += f" ON CONFLICT ({keys}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in others)}"
    else:
        sql += " ON CONFLICT DO NOTHING"
    connection.exec_driver_sql(sql, list(rows))


def keys_sql(connection: Connection, keys: Iterable[tuple[int, ...]]) -> str:
    """`((1, 2), (3, 4))` to follow `(a, b) IN`."""
    spelled = ", ".join(f"({', '.join(map(str, key))})" for key in keys)
    return f"({spelled})" if is_mysql(connection) else f"(VALUES {spelled})"


def wait_for_batches(connection: Connection, positions: Table) -> None:
    """Return once every transaction that has moved a position on is over (it holds that row until then)."""
    if is_mysql(connection):
        connection.execute(text(f"SELECT next_offset FROM {positions.name} FOR UPDATE")).all()
    # On SQLite the connection's own BEGIN IMMEDIATE has waited.


def give_way(engine: Engine) -> None:
    """Let another writer have its turn: SQLite has one at a time, and who waits looks every few milliseconds."""
    if not is_mysql(engine):
        time.sleep(0.003)


def skip_locked(connection: Connection) -> str:
    """What makes a SELECT take its rows and leave out those another transaction holds."""
    return " FOR UPDATE SKIP LOCKED" if is_mysql(connection) else ""


# --- generations of tables ------------------------------------------------------------------------------


def drop_generation(connection: Connection, model: ReadModel) -> None:
    """Drop these tables, as far as they are there."""
    for table in model.tables():
        execute(connection, f"DROP TABLE IF EXISTS {table.name}")


def swap_generations(connection: Connection, live: ReadModel, fresh: ReadModel, retired: ReadModel) -> None:
    """Make `fresh` the live tables and the live ones `retired`, all at once for everybody.

    On MySQL one RENAME TABLE does it; on SQLite the caller's transaction. If it fails, it may be tried again.
    """
    names = [(live.base_name(table), fresh.metadata.tables[f"{table.name}_{fresh.suffix}"]) for table in live.tables()]
    if is_mysql(connection):
        for _, table in names:
            # Some may have their lasting names from a try that failed after that: no transaction takes those back.
            for index_name in [str(index["name"]) for index in inspect(connection).get_indexes(table.name)]:
                lasting = index_name.replace(f"_{fresh.suffix}_by_", "_by_")
                if lasting != index_name:
                    execute(connection, f"ALTER TABLE {table.name} RENAME INDEX {index_name} TO {lasting}")
        moves = [f"{name} TO {name}_{retired.suffix}, {table.name} TO {name}" for name, table in names]
        execute(connection, f"RENAME TABLE {', '.join(moves)}")
        return
    for name, table in names:
        execute(connection, f"ALTER TABLE {name} RENAME TO {name}_{retired.suffix}")
        execute(connection, f"ALTER TABLE {table.name} RENAME TO {name}")
    for live_table in live.tables():
        for index in live_table.indexes:
            fresh_name = str(index.name).replace("_by_", f"_{fresh.suffix}_by_")
            execute(connection, f"DROP INDEX {fresh_name}")
            execute(connection, f"DROP INDEX {index.name}")
            index.create(connection)
